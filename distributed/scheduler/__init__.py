"""The scheduler: a pure machine (`machine`) that decides, and a server (`server`) that alone does I/O around it."""
