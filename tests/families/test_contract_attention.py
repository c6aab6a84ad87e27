"""Every family: the attention rows that a method reads are those of the eager maps, of both layers at a boundary.

A wrong row changes which tokens stay and nothing else, so no comparison of logits can find it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor, nn

from families.case import IMAGE, LAYERS, VIDEO, Sample
from families.cases import MODELS
from families.contract import ATTENTIONS, Beside, case_of, declared, products
from reference import Forced, draw_keeps
from replay import decoder_layers
from transprune import prune
from transprune.core.schedule import Schedule
from transprune.core.signals import Reads
from transprune.core.views import LayerView
from transprune.errors import ScheduleError
from transprune.methods import Compose, LayerPruner

NEAR = {"atol": 2e-5, "rtol": 0}
SOURCES = ("next", "previous")
ROWS = ("instruction", "last")
CUT = {1: 0.4}


@dataclass(frozen=True)
class Reader(LayerPruner):
    """Keeps everything, and remembers the attention it was shown and the boundary it was asked at."""

    boundary: int
    rows: str
    source: str
    seen: list[tuple[int, Tensor]] = field(default_factory=list, compare=False)

    name: ClassVar[str] = "reader"

    @property
    def reads(self) -> Reads:
        return Reads(rows=self.rows, source=self.source)

    def schedule(self, num_layers: int) -> Schedule:
        return Schedule({self.boundary: 1.0})

    def score(self, view: LayerView, carry: Tensor | None) -> dict[str, Tensor]:
        attention = view.attention(self.rows)
        self.seen.append((view.boundary, attention))
        return {"score": attention.mean(dim=(0, 1))}


@contextmanager
def listening(layer: nn.Module) -> Iterator[list[Tensor]]:
    """The maps [1, H, rows, keys] that an eager attention layer returns beside its output."""
    maps: list[Tensor] = []
    hook = layer.self_attn.register_forward_hook(lambda m, args, output: maps.append(output[1]))
    try:
        yield maps
    finally:
        hook.remove()


def eager_rows(beside: Beside, sample: Sample, keeps: Any, layer: int, rows: str) -> Tensor:
    """From the maps of the replay: query rows to the visual tokens that stay. [H, T, N]."""
    model = beside.zoo(beside.name)
    with listening(decoder_layers(model)[layer]) as maps:
        beside.expected(sample, keeps, None)
    replayed = maps[1]  # behind the recorded run, in front of the run of the head

    visual = [slot for slot, token in enumerate(sample.ids) if token in (IMAGE, VIDEO)]
    kept = visual
    for boundary in sorted(b for b in keeps if b <= layer):
        kept = [visual[token] for token in keeps[boundary]]
    running = sorted(set(range(len(sample.ids))) - set(visual) | set(kept))
    first = visual[-1] + 1 if rows == "instruction" else len(sample.ids) - 1
    queries = [row for row, slot in enumerate(running) if slot >= first]
    keys = [row for row, slot in enumerate(running) if slot in set(kept)]
    return replayed[0][:, queries][:, :, keys]


def check_rows(
    beside: Beside, samples: Sequence[Sample], reader: Reader, keeps: Sequence[Any]
) -> None:
    """What the reader saw of each sample is what the eager maps say."""
    assert len(reader.seen) == len(samples)
    for sample, keep, (boundary, seen) in zip(samples, keeps, reader.seen, strict=True):
        layer = boundary if reader.source == "next" else boundary - 1
        assert hasattr(decoder_layers(beside.model)[layer], "self_attn")
        torch.testing.assert_close(
            seen, eager_rows(beside, sample, keep, layer, reader.rows), **NEAR
        )


def readable_from(beside: Beside, reader: Reader) -> bool:
    """Whether a layer with attention is read at the reader's boundary or at a later one that fits."""
    mixers = [getattr(layer, "self_attn", None) for layer in decoder_layers(beside.model)]
    shares = [getattr(mixer, "is_kv_shared_layer", False) for mixer in mixers]
    # nothing is pruned from the layer on that reads the keys of another
    last = shares.index(True) - 1 if True in shares else LAYERS - 1

    behind = reader.source == "previous"
    return any(mixers[at - behind] is not None for at in range(reader.boundary, last + 1))


def is_core(name: str, attn: str, source: str, rows: str, boundary: str) -> bool:
    """Both layers at one boundary, every time."""
    return (attn, boundary) == ("sdpa", "4") and rows == "instruction"


@pytest.mark.parametrize(
    ("name", "attn", "source", "rows", "boundary"),
    products(is_core, list(MODELS), ATTENTIONS, SOURCES, ROWS, ("2", "4", "7")),
)
def test_rows_equal_the_eager_maps(zoo, record_property, name, attn, source, rows, boundary):
    """Behind an earlier cut, in a padded batch."""
    case, beside = case_of(name), Beside(zoo, name, attn)
    samples = case.ragged()
    keeps = [draw_keeps(sample, CUT) for sample in samples]
    reader = Reader(int(boundary), rows, source)
    method = Compose([Forced.of(samples, keeps), reader])
    item = f"attention rows, {source} layer"
    with torch.no_grad(), declared(record_property, name, "mode", item, attn, method):
        if not readable_from(beside, reader):
            with pytest.raises(ScheduleError, match=r"reads attention|read the keys"):
                prune(beside.model, method)
            return
        with prune(beside.model, method):
            beside.model(**case.batch(samples))
        check_rows(beside, samples, reader, keeps)


@pytest.mark.slow
@pytest.mark.parametrize("name", MODELS)
def test_every_attention_layer_can_be_read(zoo, record_property, name):
    """Sliding and full layers, with and without rotation, with keys of their own or of another layer."""
    case, beside = case_of(name), Beside(zoo, name, "sdpa")
    samples = case.ragged()
    for boundary in range(1, LAYERS):
        reader = Reader(boundary, "last", "previous")
        if not readable_from(beside, reader):
            continue
        with (
            torch.no_grad(),
            declared(record_property, name, "mode", "attention rows", "sdpa", reader),
        ):
            with prune(beside.model, reader):
                beside.model(**case.batch(samples))
            check_rows(beside, samples, reader, [{}] * len(samples))


@pytest.mark.parametrize("name", MODELS)
def test_the_maps_are_far_from_uniform(zoo, name):
    """Otherwise the comparisons above would say nothing."""
    case, beside = case_of(name), Beside(zoo, name, "eager")
    layers = decoder_layers(beside.model)
    layer = max(number for number in range(5) if hasattr(layers[number], "self_attn"))
    rows = eager_rows(beside, case.even()[0], {}, layer, "last")
    assert float(rows.max()) > 2 * float(rows.mean())
