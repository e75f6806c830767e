"""How much faster and smaller cellseg is than the usual way of doing the same, measured: ``tools/benchmark.py``."""
