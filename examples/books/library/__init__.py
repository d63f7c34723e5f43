"""A small project of several modules: chapters, and what is found in them."""
