"""Measured time and memory of each condition."""
