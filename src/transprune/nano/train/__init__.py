"""How the bundled model is trained: from scenes to a checkpoint on two CPU cores, resumable.

This package is part of the source repository, not of the wheel. Nothing outside it imports it,
apart from `smol/train` and the commands `transprune nano train` and `transprune nano plot`.
"""
