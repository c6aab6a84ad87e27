"""The weights that come with the bundled model: small, its own, found by themselves, and no noise."""

from __future__ import annotations

import pytest
import torch

from transprune import nano
from transprune.bench.run.answers import to_device
from transprune.methods.common.trained_weights import load_weights
from transprune.runtime.taps.trained import fit_of
from transprune.training.trainees import KINDS, trained_method

FOLDER = nano.path() / "pruners"
MOST_BYTES = 300_000


def test_they_are_small():
    files = [file for file in FOLDER.rglob("*") if file.is_file()]
    assert {file.parent.name for file in files} == set(KINDS)
    assert sum(file.stat().st_size for file in files) < MOST_BYTES


@pytest.mark.parametrize("name", KINDS)
def test_they_are_those_of_this_very_model(prepared, name):
    weights = load_weights(FOLDER / name)
    assert weights.fit == fit_of(trained_method(name), prepared.base, 16)
    assert weights.training["model"] == "nano"
    assert weights.training["questions"] == "nano"
    held = weights.training["held out"]
    assert held[name]["kl"] < held["random"]["kl"]


@pytest.mark.parametrize("name", KINDS)
def test_they_keep_what_the_question_is_about(prepared, items, name):
    """Of the tokens that show the asked objects a larger share stays than of all tokens."""
    inputs = to_device(prepared.batch(items, encoded=True), prepared.checkpoint.model)
    with torch.no_grad(), prepared.prune(trained_method(name)) as session:
        prepared.checkpoint.model(**inputs)

    shown = stay = kept = 0
    for row, item in enumerate(items):
        relevant = {token for tokens in item.relevant for token in tokens}
        keep = set(session.trace.stages[-1].keep[row].tolist())
        shown += len(relevant)
        stay += len(relevant & keep)
        kept += len(keep)
    assert shown > 20
    assert stay / shown > 1.5 * kept / (144 * len(items))
