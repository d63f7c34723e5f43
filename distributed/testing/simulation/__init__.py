"""Deterministic simulation: whole clusters in one thread, under a virtual clock, with faults, from one seed.

``python -m distributed.testing.simulation --seeds 100`` runs some; the page *The simulator* of the manual explains it.
"""
