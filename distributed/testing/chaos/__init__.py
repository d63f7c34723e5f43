"""Chaos: a cluster of real processes that computes while its workers are killed and stopped and its connections cut.

``python -m distributed.testing.chaos`` says at the end whether every result was right, none was missing, nothing hung
and nothing was left behind. What a simulation cannot show is shown here: signals, sockets, files, the kernel.
"""
