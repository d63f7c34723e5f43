"""Center and Pool: a scheduler that is also asked who has what, and calls whose results stay where they were made."""
