"""The worker: a machine that decides, a store, threads that run user code, and a server that alone does I/O."""
