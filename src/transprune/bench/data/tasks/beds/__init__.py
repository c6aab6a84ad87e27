"""Test beds: pictures with questions that are known by a name, `nano` and `smol` among them."""

from __future__ import annotations

from transprune.bench.data.tasks.beds.base import Bed as Bed
from transprune.bench.data.tasks.beds.nano import NanoBed
from transprune.bench.data.tasks.beds.smol import SmolBed
from transprune.nano import NANO
from transprune.smol import SMOL

BEDS: dict[str, Bed] = {
    bed.name: bed
    for bed in (
        NanoBed(NANO),
        SmolBed(SMOL),
        SmolBed(f"{SMOL}-unseen", unseen=True),
        SmolBed(f"{SMOL}-phrasings", held_out=True),
    )
}


def find_bed(source: str) -> Bed | None:
    """The test bed that a source of questions names; None for a folder or a file."""
    return BEDS.get(source)


def own_tasks(model: str) -> str:
    """The source of questions where none is given: the model's own, else the bundled scenes."""
    return model if model in BEDS else NANO
