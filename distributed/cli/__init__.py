"""Console scripts: dscheduler, dworker, and ``python -m distributed``."""
