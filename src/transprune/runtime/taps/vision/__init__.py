"""The vision tap: hooks, what they captured in one prefill, and which token it belongs to."""
