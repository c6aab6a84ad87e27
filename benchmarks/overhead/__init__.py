"""What pruning costs besides the work it leaves: `make overhead`.

`python -m benchmarks.overhead --help` lists the options.
"""
