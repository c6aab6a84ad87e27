"""Taps: what hooks read of a running model for the methods that announced it, one kind of signal a file."""
