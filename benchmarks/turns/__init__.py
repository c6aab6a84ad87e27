"""Time of a decode step: dynamic and static caches, eager and compiled, pruned and not."""
