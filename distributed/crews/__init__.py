"""A Main's side of offers: for each state of its workspace a crew, which is a scheduler and the rooms that serve it."""
