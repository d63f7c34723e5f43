"""Locks, events, semaphores, queues, variables, topics and datasets, as users have them."""
