"""Taps: hooks that read a running model for methods, one kind of signal a file."""
