"""The second test bed: a LLaVA whose language model, SmolLM2-135M-Instruct, learnt language first.

Nothing of it is bundled. `transprune smol language` makes the language model of a file that is on
the machine, `transprune smol world` gathers what pictures are drawn from, and `transprune smol
train` trains a vision tower on them. All three write into one folder, which
is `out/smol` by default:

    language/   the language model, as transformers loads it, and what it answers to text alone
    world/      pictures of some 1,300 kinds of things with their names, and photographs
    tower/      the training of the vision tower: checkpoint and log

The training code is in `smol/train`, which is part of the source repository and not of the wheel.
"""

from __future__ import annotations

from pathlib import Path

HOME = Path("out/smol")  # of everything that these commands write, unless they are told otherwise
