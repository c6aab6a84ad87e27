"""Benchmarks of the engine: `make bench`, or `python -m bench --help`."""
