"""Virtual environments for rooms: made once per digest, shared, and run by the interpreter they were made for."""
