"""How the second test bed is trained: a vision tower from drawn pictures, resumable at any time.

This package is part of the source repository, not of the wheel. Nothing outside it imports it,
apart from the commands `transprune smol train` and `transprune smol measure`. The loop, the log and
the optimizer are those of `nano/train`.
"""
