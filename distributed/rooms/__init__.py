"""A room: a worker of one tenant, for one workspace and environment, in an interpreter of its own."""
