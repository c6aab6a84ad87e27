"""What pruning costs on top of the work it leaves: `make overhead`, or `python -m benchmarks.overhead --help`."""
