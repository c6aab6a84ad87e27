"""What a pruned model must compute, written as slowly and plainly as possible.

One sample at a time: no padding, no cache, no hook while it runs. Before each layer the dropped rows are taken out by
`index_select`, merged contents are written into rows, and the causal mask with the bias of each key is written down
anew. A frozen layer runs on every row, and what it did to the visual ones is forgotten. It shares no code with the
library's runtime.

`Forced` is the method under which the library runs beside it: it keeps exactly the tokens it is told, gives them the
key biases it is told and freezes the layers it is told.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from torch import Tensor

from evicted import Evicted
from families.cases import Sample
from transprune.core.schedule import Schedule
from transprune.core.views import LayerView, Scores, Selection
from transprune.methods import LayerPruner

Keeps = Mapping[int, Sequence[int]]  # boundary -> numbers of the visual tokens that stay
Places = Mapping[int, float]  # boundary -> share of the visual tokens to draw

Biases = Mapping[
    int, Sequence[float]
]  # boundary -> for each token that stays, what its key's logits gain
Contents = Mapping[int, Tensor]  # boundary -> [K, D], what the tokens that stay become

TOLERANCE = 2e-5  # between the library and the reference, float32 logits of size 5
PLACES: tuple[Places, ...] = ({2: 0.8, 4: 0.5, 6: 0.2}, {0: 0.6, 3: 0.3}, {1: 0.9, 7: 0.05})


@torch.no_grad()
def reference(
    model: Any,
    inputs: Mapping[str, Tensor],
    keeps: Keeps,
    extra: Tensor | None = None,
    positions: str = "keep",
    biases: Biases | None = None,
    frozen: Iterable[int] = (),
    contents: Contents | None = None,
    evicts: Sequence[Evicted] = (),
) -> Tensor:
    """Logits [L + n, V] of one unpadded prompt of L tokens and `extra` [n] tokens behind it; NaN for dropped tokens."""
    decoder = model.get_decoder()
    ids = inputs["input_ids"][0]
    hidden, positions_given = _decoder_inputs(model, inputs)
    if extra is not None:
        hidden = torch.cat([hidden, model.get_input_embeddings()(extra)[None]], dim=1)
    total = hidden.shape[1]
    position_ids = _continued(positions_given, total)
    window = getattr(decoder.config, "sliding_window", None) or total
    placeholders = [
        model.config.image_token_id,
        getattr(model.config, "video_token_id", model.config.image_token_id),
    ]
    visual_slots = (
        torch.isin(ids, torch.tensor(placeholders, device=ids.device)).nonzero().flatten()
    )

    running, gain = torch.arange(total, device=ids.device), torch.zeros(total, device=ids.device)
    for index, layer in enumerate(decoder.layers):
        if index in keeps:
            wanted = torch.ones(total, dtype=torch.bool, device=ids.device)
            wanted[visual_slots] = False
            wanted[visual_slots[list(keeps[index])]] = True
            stay = wanted[running].nonzero().flatten()
            hidden, running = hidden.index_select(1, stay), running[stay]
            for number, token in enumerate(keeps[index]):
                row = int((running == visual_slots[token]).nonzero())
                if contents and index in contents:
                    hidden = hidden.clone()
                    hidden[0, row] = contents[index][number]
                if biases and index in biases:
                    gain[visual_slots[token]] += biases[index][number]
        here = position_ids[..., running]
        if positions == "renumber":
            here = torch.arange(len(running), device=ids.device)[None]
        mask = torch.zeros(len(running), len(running), dtype=hidden.dtype, device=ids.device)
        distance = running[:, None] - running[None, :]  # in the unpruned prompt
        mask += gain[running][None, :]
        mask[(distance < 0) | (distance >= window)] = torch.finfo(hidden.dtype).min
        mask = mask[None, None]
        for gone in evicts:
            mask = gone.close(mask, index, layer, visual_slots, running, running)
        output = layer(
            hidden,
            attention_mask=mask,
            position_embeddings=decoder.rotary_emb(hidden, here),
            position_ids=None,
        )
        output = output[0] if isinstance(output, tuple) else output
        if index in frozen:
            still = torch.isin(running, visual_slots) & (running != len(ids) - 1)
            output = torch.where(still[None, :, None], hidden, output)
        hidden = output
    survivors = model.get_output_embeddings()(decoder.norm(hidden))[0]
    logits = survivors.new_full((total, survivors.shape[-1]), float("nan"))
    logits[running] = survivors
    return logits


def _decoder_inputs(model: Any, inputs: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
    """Embeddings [1, L, D] with the image features in them, and position ids [1, L] or [3, 1, L]."""
    seen: dict[str, Any] = {}
    hook = model.get_decoder().register_forward_pre_hook(
        lambda m, args, kwargs: seen.update(kwargs), with_kwargs=True
    )
    model(**inputs, use_cache=False)
    hook.remove()
    embeds, positions = seen["inputs_embeds"], seen.get("position_ids")
    if positions is None:
        positions = torch.arange(embeds.shape[1], device=embeds.device)[None]
    return embeds, positions[-3:] if positions.ndim == 3 else positions


def _continued(positions: Tensor, total: int) -> Tensor:
    """Position ids for further text tokens: they count on from the largest so far."""
    more = positions.max() + 1 + torch.arange(total - positions.shape[-1], device=positions.device)
    return torch.cat([positions, more.expand(*positions.shape[:-1], -1)], dim=-1)


def draw_keeps(sample: Sample, places: Places) -> dict[int, tuple[int, ...]]:
    """Nested random keep sets; samples with the same number of visual tokens get the same ones."""
    order = torch.randperm(
        sample.visual_tokens, generator=torch.Generator().manual_seed(sample.visual_tokens)
    ).tolist()
    counts = {
        boundary: max(1, int(sample.visual_tokens * ratio)) for boundary, ratio in places.items()
    }
    return {boundary: tuple(sorted(order[:count])) for boundary, count in counts.items()}


def draw_biases(sample: Sample, keeps: Keeps) -> dict[int, tuple[float, ...]]:
    """Key biases between -1 and 3 for the tokens that stay at every other boundary; the same ones every time."""
    generator = torch.Generator().manual_seed(sample.visual_tokens)
    return {
        boundary: tuple((torch.rand(len(keep), generator=generator) * 4 - 1).tolist())
        for boundary, keep in list(keeps.items())[::2]
    }


@dataclass(frozen=True)
class Forced(LayerPruner):
    """Keeps what a table says: (boundary, tokens that arrive) -> tokens that stay. Not registered.

    A sample is recognised by the tokens that arrive, so a runtime that shows a method the wrong ones fails here.
    """

    table: Mapping[tuple[int, tuple[int, ...]], tuple[int, ...]]
    biases: Mapping[tuple[int, tuple[int, ...]], tuple[float, ...]] = field(default_factory=dict)
    freeze: tuple[int, ...] = ()

    name: ClassVar[str] = "forced"
    first_boundary: ClassVar[int] = 0

    @classmethod
    def of(
        cls,
        samples: Sequence[Sample],
        keeps: Sequence[Keeps],
        biases: Sequence[Biases] | None = None,
        freeze: Iterable[int] = (),
    ) -> Forced:
        """The keep sets, and perhaps the key biases, of each sample of a batch; and the layers to freeze."""
        table, gains = {}, {}
        for sample, keep, gain in zip(samples, keeps, biases or [{}] * len(samples), strict=True):
            arrived = tuple(range(sample.visual_tokens))
            for boundary in sorted(keep):
                table[boundary, arrived] = tuple(keep[boundary])
                if boundary in gain:
                    gains[boundary, arrived] = tuple(gain[boundary])
                arrived = tuple(keep[boundary])
        return cls(table, gains, tuple(freeze))

    @classmethod
    def everything(cls, samples: Sequence[Sample], boundaries: Iterable[int]) -> Forced:
        """Keeps every token at every boundary."""
        return cls.of(
            samples,
            [{boundary: range(s.visual_tokens) for boundary in boundaries} for s in samples],
        )

    def schedule(self, num_layers: int) -> Schedule:
        return Schedule({boundary: 1.0 for boundary, _ in self.table})

    def frozen(self, num_layers: int) -> tuple[int, ...]:
        return self.freeze

    def score(self, view: LayerView, carry: Tensor | None) -> Scores:
        raise NotImplementedError("forced choices have no score")

    def select(self, view: LayerView, carry: Tensor | None = None) -> Selection:
        arrived = tuple(view.candidates.tolist())
        stay = self.table[view.boundary, arrived]
        gain = self.biases.get((view.boundary, arrived))
        return Selection(
            torch.tensor([arrived.index(token) for token in stay], device=view.candidates.device),
            key_bias=None if gain is None else torch.tensor(gain, device=view.candidates.device),
        )
