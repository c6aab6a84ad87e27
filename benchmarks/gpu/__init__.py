"""Time and memory of pruned models on a GPU: `make bench-gpu`.

`python -m benchmarks.gpu --help` lists the options.
"""
