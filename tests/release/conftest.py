"""The command line, as its own tests call it."""

from cli.conftest import cli

__all__ = ["cli"]
