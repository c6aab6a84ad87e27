"""Eviction: visual keys and values that leave the cache behind the prefill, head by head."""
