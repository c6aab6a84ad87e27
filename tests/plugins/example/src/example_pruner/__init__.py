"""A pruning method in a package of its own."""
