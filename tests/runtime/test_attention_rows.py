"""The attention rows a method reads are those of the eager model, to 1e-5, whatever kernel the model runs."""

from dataclasses import dataclass, field
from typing import ClassVar

import pytest
import torch
from transformers import DynamicCache

from families.cases import FAMILIES, IMAGE, Sample, greedy
from reference import Forced
from transprune import prune
from transprune.core.library import cache_argument
from transprune.core.schedule import Schedule
from transprune.core.signals import Reads
from transprune.methods import Compose, LayerPruner

CLOSE = {"atol": 1e-5, "rtol": 0}


@dataclass(frozen=True)
class Reader(LayerPruner):
    """Keeps everything and remembers the attention it was shown, by the number of tokens that arrived."""

    boundary: int = 3
    rows: str = "instruction"
    source: str = "next"
    seen: list = field(default_factory=list, compare=False)

    name: ClassVar[str] = "reader"

    @property
    def reads(self):
        return Reads(rows=self.rows, source=self.source)

    def schedule(self, num_layers):
        return Schedule({self.boundary: 1.0})

    def score(self, view, carry):
        attention = view.attention(self.rows)
        self.seen.append(attention)
        return {"score": attention.mean(dim=(0, 1))}


def query_slots(sample, rows):
    """Slots of the query rows in an unpadded prompt."""
    last_visual = max(slot for slot, token in enumerate(sample.ids) if token == IMAGE)
    return (
        list(range(last_visual + 1, len(sample.ids)))
        if rows == "instruction"
        else [len(sample.ids) - 1]
    )


def visual_slots(sample):
    return [slot for slot, token in enumerate(sample.ids) if token == IMAGE]


@torch.no_grad()
def eager_map(zoo, family, samples, layer, method=None):
    """Attention maps [B, H, rows, rows] of one layer of the eager model, optionally while it is being pruned."""
    model, inputs = zoo(family), FAMILIES[family].batch(samples)
    if method is None:
        return model(**inputs, output_attentions=True).attentions[layer]
    with prune(model, method):
        return model(**inputs, output_attentions=True).attentions[layer]


@pytest.mark.parametrize("rows", ["instruction", "last"])
@pytest.mark.parametrize("source", ["next", "previous"])
def test_rows_of_an_unpruned_prompt(zoo, model, family, rows, source):
    samples = FAMILIES[family].ragged()
    reader = Reader(rows=rows, source=source)
    with torch.no_grad(), prune(model, reader):
        model(**FAMILIES[family].batch(samples))
    maps = eager_map(zoo, family, samples, layer=3 if source == "next" else 2)
    for row, (sample, seen) in enumerate(zip(samples, reader.seen, strict=True)):
        alone = maps[row, :, -len(sample.ids) :, -len(sample.ids) :]
        torch.testing.assert_close(
            seen, alone[:, query_slots(sample, rows)][:, :, visual_slots(sample)], **CLOSE
        )


@pytest.mark.parametrize("positions", ["keep", "renumber"])
@pytest.mark.parametrize("source", ["next", "previous"])
def test_rows_behind_an_earlier_cut(zoo, attn, family, source, positions):
    if positions not in FAMILIES[family].positions:
        positions = "keep"
    samples, model = FAMILIES[family].ragged(), zoo(family, attn)
    keeps = [{2: range(0, sample.visual_tokens, 3)} for sample in samples]
    reader, cut = Reader(boundary=4, source=source), Forced.of(samples, keeps)
    with torch.no_grad(), prune(model, Compose([cut, reader]), positions=positions):
        model(**FAMILIES[family].batch(samples))
    with torch.no_grad(), prune(zoo(family), cut, positions=positions):
        output = zoo(family)(**FAMILIES[family].batch(samples), output_attentions=True)
    maps = output.attentions[4 if source == "next" else 3]
    for row, (sample, keep, seen) in enumerate(zip(samples, keeps, reader.seen, strict=True)):
        visual = visual_slots(sample)
        kept = [visual[token] for token in keep[2]]
        running = sorted(set(range(len(sample.ids))) - set(visual) | set(kept))
        place = {slot: number for number, slot in enumerate(running)}
        alone = maps[row, :, -len(running) :, -len(running) :]
        queries, keys = (
            [place[slot] for slot in slots] for slots in (query_slots(sample, "instruction"), kept)
        )
        torch.testing.assert_close(seen, alone[:, queries][:, :, keys], **CLOSE)


@pytest.mark.parametrize("source", ["next", "previous"])
@pytest.mark.parametrize("family", ["llava", "llava_next"])
def test_rows_of_a_second_image_look_back_at_a_pruned_first_turn(zoo, attn, family, source):
    case, model = FAMILIES[family], zoo(family, attn)
    first, second = case.sample([0], [3, 2]), case.sample([1], [1, 4], seed=1)
    early, both = (
        range(0, first.visual_tokens, 2),
        Sample(first.ids + second.ids, (*first.images, *second.images)),
    )
    reader = Reader(source=source)
    cache = DynamicCache(config=model.config.get_text_config())
    with torch.no_grad():
        with prune(model, Forced.of([first], [{1: early}])):
            model(**case.batch([first]), **cache_argument(model, cache))
        turn = case.batch([second])
        turn["attention_mask"] = torch.ones(1, len(both.ids), dtype=torch.long)
        turn["position_ids"] = torch.arange(len(first.ids), len(both.ids))[None]
        with prune(model, reader):
            model(**turn, **cache_argument(model, cache))
    joint = [*early, *range(first.visual_tokens, both.visual_tokens)]
    layer = 3 if source == "next" else 2
    maps = eager_map(zoo, family, [both], layer, Forced.of([both], [{1: joint}]))[0]
    removed = first.visual_tokens - len(early)
    queries = [slot - removed for slot in query_slots(both, "instruction")]
    keys = [slot - removed for slot in visual_slots(both) if slot >= len(first.ids)]
    torch.testing.assert_close(reader.seen[0], maps[:, queries][:, :, keys], **CLOSE)


@pytest.mark.parametrize("options", [{}, {"num_beams": 2}], ids=["greedy", "beams"])
def test_generate_reads_the_same_rows_once_per_sequence(zoo, model, family, options):
    samples = FAMILIES[family].ragged()
    reader = Reader()
    with prune(model, reader):
        greedy(model, FAMILIES[family].batch(samples), steps=3, **options)
    maps = eager_map(zoo, family, samples, layer=3)
    repeats = options.get("num_beams", 1)
    assert len(reader.seen) == 2 * repeats
    for number, seen in enumerate(reader.seen):
        sample = samples[number // repeats]
        alone = maps[number // repeats, :, -len(sample.ids) :, -len(sample.ids) :]
        queries, keys = query_slots(sample, "instruction"), visual_slots(sample)
        torch.testing.assert_close(seen, alone[:, queries][:, :, keys], **CLOSE)


def test_queries_may_be_row_numbers(zoo, model, family):
    sample = FAMILIES[family].ragged()[1]
    chosen = torch.tensor([0, 2, len(sample.ids) - 2])

    class Chosen(Reader):
        def score(self, view, carry):
            self.seen.append(view.attention(chosen))
            return {"score": torch.zeros(len(view.candidates))}

    reader = Chosen()
    with torch.no_grad(), prune(model, reader):
        model(**FAMILIES[family].batch(FAMILIES[family].ragged()[1:]))
    alone = eager_map(zoo, family, [sample], layer=3)[0]
    torch.testing.assert_close(
        reader.seen[0], alone[:, chosen][:, :, visual_slots(sample)], **CLOSE
    )


def test_the_maps_are_far_from_uniform(zoo, family):
    """Otherwise the comparisons above would say nothing."""
    maps = eager_map(zoo, family, FAMILIES[family].ragged(), layer=3)
    last = maps[0, :, -1]
    assert float(last.max()) > 3 * float(last.mean())
