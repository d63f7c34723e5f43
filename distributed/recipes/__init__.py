"""Complete small programs on top of the engine, written to be read."""
