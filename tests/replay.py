"""What a pruned model must compute, for any decoder: its layers once more, one by one, on the rows that stay.

The model runs once, unpruned, without a cache, on the whole unpadded sequence, and what each layer was given is written
down: mask, cos and sin, per-layer inputs, and what the decoder added to the rows between two layers. Then the layers
run again on the surviving rows, with the same rows and columns taken out of everything that was written down. The head
is the model's own: a last run exchanges the output of the last layer, so norms, caps and scales need no copy here.

`reference.py` writes masks and positions down by itself and is the stricter of the two; it knows plain decoders only.
Neither shares code with the library's runtime.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from evicted import Evicted
from families.case import IMAGE, VIDEO

Keeps = Mapping[int, Sequence[int]]  # boundary -> numbers of the visual tokens that stay

# of the two names, transformers 5.24 and later use the second
CACHES = ("past_key_values", "cache")


@dataclass
class Given:
    """What the layers of one unpruned run were given, and what they returned."""

    args: list[tuple[Any, ...]] = field(default_factory=list)
    kwargs: list[dict[str, Any]] = field(default_factory=list)
    outputs: list[Tensor] = field(default_factory=list)

    def enter(self, layer: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        rows = args[0] if args else kwargs["hidden_states"]
        self.args.append((rows.clone(), *args[1:]))
        self.kwargs.append({k: v for k, v in kwargs.items() if k != "hidden_states"})

    def leave(self, layer: nn.Module, args: Any, output: Any) -> None:
        self.outputs.append(rows_of(output).clone())

    def added_behind(self, layer: int) -> Tensor | None:
        """What the decoder added to the rows between this layer and the next. [1, L, D] or None."""
        if layer + 1 == len(self.args):
            return None
        difference = self.args[layer + 1][0] - self.outputs[layer]
        return difference if bool(difference.any()) else None


@dataclass
class Stored(dict[Any, Any]):
    """Keys and values that later layers read, with the slots they were stored for."""

    running: Tensor
    slots: dict[Any, Tensor] = field(default_factory=dict)

    def __setitem__(self, name: Any, keys_and_values: Any) -> None:
        super().__setitem__(name, keys_and_values)
        self.slots[name] = self.running


@torch.no_grad()
def replay(
    model: Any,
    inputs: Mapping[str, Tensor],
    keeps: Keeps,
    extra: Tensor | None = None,
    positions: str = "keep",
    biases: Mapping[int, Sequence[float]] | None = None,
    frozen: Iterable[int] = (),
    contents: Mapping[int, Tensor] | None = None,
    evicts: Sequence[Evicted] = (),
) -> Tensor:
    """Logits [L + n, V] of one unpadded prompt of L tokens and `extra` [n] behind it; NaN for dropped tokens.

    Args:
        model: an eager model, because only that is given its mask by every class.
        inputs: of one sample.
        keeps: boundary -> numbers of the visual tokens that stay; nested.
        extra: token ids behind the prompt.
        positions: `"renumber"` gives the surviving rows the first positions.
        biases: boundary -> for each token that stays, what its key's logits gain.
        frozen: layers that leave visual rows as they were.
        contents: boundary -> [K, D], what the tokens that stay become.
        evicts: keys that heads lack behind a prompt.
    """
    prompt = inputs["input_ids"][0]
    whole = _continued(inputs, extra)
    total = whole["input_ids"].shape[1]
    visual = torch.isin(prompt, torch.tensor([IMAGE, VIDEO])).nonzero().flatten()
    layers = decoder_layers(model)
    given = _record(model, layers, whole)

    hidden, running = given.args[0][0], torch.arange(total)
    gain, stored = torch.zeros(total), Stored(running)
    for index, layer in enumerate(layers):
        if index in keeps:
            hidden, running = _without(hidden, running, visual, keeps[index])
            slots = visual[list(keeps[index])]
            if contents and index in contents:
                hidden = hidden.clone()
                hidden[0, torch.isin(running, slots)] = contents[index]
            if biases and index in biases:
                gain[slots] += torch.tensor(biases[index])

        stored.running = running
        args, kwargs = _arguments(given, index, layer, stored, gain, positions)
        for gone in evicts:
            mask = kwargs["attention_mask"] if index in gone.layers else None
            if mask is not None:
                closed = gone.close(mask, index, layer, visual, running, running)
                kwargs["attention_mask"] = closed
        output = rows_of(layer(hidden, *args, **kwargs))
        if index in frozen:
            # the last token of the prompt answers, so it always runs
            still = torch.isin(running, visual) & (running != len(prompt) - 1)
            output = torch.where(still[None, :, None], hidden, output)
        added = given.added_behind(index)
        hidden = output if added is None else output + added[:, running]
    return _head(model, layers[-1], whole, hidden, running)


def decoder_layers(model: Any) -> list[nn.Module]:
    """The decoder layers that run, in order."""
    decoder = model.get_decoder()
    return list(decoder.layers)[: decoder.config.num_hidden_layers]


def rows_of(output: Any) -> Tensor:
    """Hidden states [B, L, D] of what a layer returned."""
    rows: Tensor = output[0] if isinstance(output, tuple) else output
    return rows


def _continued(inputs: Mapping[str, Tensor], extra: Tensor | None) -> dict[str, Tensor]:
    """The inputs with text tokens behind them: attended to, and of token type 0."""
    whole = dict(inputs)
    if extra is None or not len(extra):
        return whole

    length = inputs["input_ids"].shape[1]
    for name, value in inputs.items():
        per_token = value.shape == (1, length) and not value.is_floating_point()
        if name == "input_ids":
            whole[name] = torch.cat([value, extra[None]], dim=1)
        elif per_token:
            fill = int(name == "attention_mask")
            whole[name] = nn.functional.pad(value, (0, len(extra)), value=fill)
    return whole


def _record(model: Any, layers: Sequence[nn.Module], whole: Mapping[str, Tensor]) -> Given:
    """Run the model once and write down what the layers were given."""
    given = Given()
    with ExitStack() as stack:
        for layer in layers:
            enter = layer.register_forward_pre_hook(given.enter, with_kwargs=True)
            stack.callback(enter.remove)
            stack.callback(layer.register_forward_hook(given.leave).remove)
        model(**whole, use_cache=False)
    assert len(given.args) == len(layers)
    return given


def _without(
    hidden: Tensor, running: Tensor, visual: Tensor, keep: Sequence[int]
) -> tuple[Tensor, Tensor]:
    """Rows and their slots without the visual tokens that do not stay."""
    gone = set(visual.tolist()) - set(visual[list(keep)].tolist())
    stay = [row for row, slot in enumerate(running.tolist()) if slot not in gone]
    return hidden[:, stay], running[stay]


def _arguments(
    given: Given, index: int, layer: nn.Module, stored: Stored, gain: Tensor, positions: str
) -> tuple[list[Any], dict[str, Any]]:
    """What the layer is given beside its rows, of the rows that run."""
    running, total = stored.running, len(gain)
    columns = running
    if "shared_kv_states" in given.kwargs[index]:
        attention: Any = layer.self_attn
        if attention.is_kv_shared_layer:
            # the keys of an earlier layer, also of tokens that were dropped behind it
            columns = stored.slots[attention.layer_type]

    # renumbered rows have the places among the keys that the layer reads
    numbers = torch.searchsorted(columns, running) if positions == "renumber" else running
    args = [_rows(value, running, total) for value in given.args[index][1:]]
    kwargs = {}
    for name, value in given.kwargs[index].items():
        kwargs[name] = _rows(value, numbers if name.startswith("position_") else running, total)
    if "shared_kv_states" in kwargs:
        kwargs["shared_kv_states"] = stored
    mask = given.kwargs[index].get("attention_mask")
    if mask is not None and mask.ndim == 4:
        kwargs["attention_mask"] = mask[:, :, running][..., columns] + gain[columns]
    elif hasattr(layer, "self_attn"):
        raise AssertionError("an eager attention layer is given a mask [1, 1, L, L]")
    for name in CACHES:
        assert kwargs.get(name) is None, "the recorded run has no cache"
    return args, kwargs


def _rows(value: Any, rows: Tensor, total: int) -> Any:
    """These rows of whatever has one entry per slot: cos and sin, ids, masks of padding, per-layer inputs."""
    if isinstance(value, tuple):
        return tuple(_rows(one, rows, total) for one in value)
    if not isinstance(value, Tensor) or total not in value.shape:
        return value
    # the first dimension of that size: the width of a head may be the same number
    return value.index_select(list(value.shape).index(total), rows)


def _head(
    model: Any, last: nn.Module, whole: Mapping[str, Tensor], hidden: Tensor, running: Tensor
) -> Tensor:
    """The model's own logits for these outputs of its last layer; NaN in all other rows. [L, V]."""

    def exchange(layer: nn.Module, args: Any, output: Any) -> Any:
        full = torch.zeros_like(rows_of(output))
        full[:, running] = hidden
        return (full, *output[1:]) if isinstance(output, tuple) else full

    hook = last.register_forward_hook(exchange)
    try:
        survivors = model(**whole, use_cache=False).logits[0]
    finally:
        hook.remove()
    logits = torch.full_like(survivors, float("nan"))
    logits[running] = survivors[running]
    return logits
