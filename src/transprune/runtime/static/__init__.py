"""Static decoding: pruned keys and values in buffers of a fixed size, and decode steps as one graph."""
