"""One prompt of one model, run in several ways: the material of `families.proof`."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor, nn

from transprune.core.shown import shorten
from transprune.errors import MissingSignal, PruneError, UnknownFamily
from transprune.families.base import Family
from transprune.families.untouched import listening_to

TOKENS = 16
SIDE = 4  # merged patches down and across
BEFORE, BEHIND = 3, 5  # words around the placeholders

Session = Callable[..., AbstractContextManager[Any]]


class Trial:
    """One prompt of one model, run in several ways.

    Args:
        model: inside no wrapper.
        family: of the model.
    """

    def __init__(self, model: Any, family: Family) -> None:
        self.model = model
        self.family = family
        base = family.base(model)
        self.config = base.config
        self.layers = len(family.layers(base))
        self.takes = _parameters(model) | _parameters(base)

        embed = family.decoder(base).get_input_embeddings()
        text = self._words(BEFORE + BEHIND, embed.num_embeddings)
        self.ids = [*text[:BEFORE], *[self.config.image_token_id] * TOKENS, *text[BEFORE:]]
        rows = embed(torch.tensor([text], dtype=torch.long, device=model.device))
        generator = torch.Generator().manual_seed(0)
        noise = torch.randn(TOKENS, rows.shape[-1], generator=generator, dtype=torch.float32)
        # as large as embeddings are
        self.features = (noise.to(rows.device) * rows.float().std()).to(rows.dtype)
        self.form: Callable[[Tensor], Any] = _as_list
        self.kept: list[int] = []

    @property
    def can_be_shortened(self) -> bool:
        """Whether a prompt without the dropped tokens is the same to this model."""
        text = self.config.get_text_config()
        window = getattr(text, "sliding_window", None)
        # a window counts the tokens that are there; positions of three axes are the model's affair
        return not self.family.mrope and (window is None or window >= len(self.ids))

    def find_form(self) -> Tensor:
        """Logits of the prompt, with features in the first form that the model takes."""
        reasons = []
        for form in (_as_list, _as_images, _as_rows):
            self.form = form
            try:
                return self.run(range(TOKENS))
            # each class fails in its own way on a form that it does not take
            except Exception as error:
                reasons.append(f"{type(error).__name__}: {error}")

        raise self.refusal(
            "it takes no features in the form of its encoder's output "
            f"({shorten(' '.join(reasons[0].split()))})"
        )

    def pruned(self, session: Session, recipe: str) -> Tensor:
        """Logits of the prompt inside a session; which tokens stayed is then in `kept`."""
        try:
            with session(recipe) as running:
                logits = self.run(range(TOKENS))
            self.kept = running.trace.stages[-1].keep[0].tolist()
            return logits
        except PruneError as error:
            raise self.refusal(str(error)) from error
        # hooks that hand a layer what it does not expect make it fail in its own way
        except Exception as error:
            reason = shorten(" ".join(str(error).split()))
            raise self.refusal(f"it fails when it is pruned ({reason})") from error

    def scores(self, session: Session, recipe: str) -> Tensor | None:
        """Scores [N] of a method that reads attention; None where it finds none to read."""
        try:
            with session(recipe, record="scores") as running:
                self.run(range(TOKENS))
        except MissingSignal:
            return None
        scores: Tensor = running.trace.stages[-1].scores["score"][0]
        return scores

    @property
    def one_of_each_kind(self) -> list[int]:
        """A decoder layer of each kind of attention, as near the middle as there is one."""
        layers = self.family.layers(self.family.base(self.model))
        nearest = sorted(range(len(layers)), key=lambda index: abs(index - len(layers) // 2))
        kinds: dict[tuple[Any, ...], int] = {}
        for index in nearest:
            kinds.setdefault(_settings(layers[index].self_attn), index)
        return sorted(kinds.values())

    def attention(self, layer: int) -> Tensor | None:
        """The model's own attention map [1, H, L, L] of a decoder layer, or None."""
        base = self.family.base(self.model)
        module = self.family.layers(base)[layer].self_attn
        config = self.family.decoder(base).config
        usual = config._attn_implementation
        try:
            # no other implementation makes maps
            config._attn_implementation = "eager"
            # `output_attentions` would do, but leaves hooks of transformers on the model
            with listening_to(module) as maps:
                self.run(range(TOKENS))
        finally:
            config._attn_implementation = usual

        return maps[-1] if maps else None

    def last_row(self, attention: Tensor) -> Tensor:
        """What the last token attends to in a map [1, H, L, L]: the placeholders, mean over heads."""
        row = attention[0, :, -1, BEFORE : BEFORE + TOKENS].float()  # [H, N]
        return row.mean(dim=0).cpu()

    def run(self, kept: Sequence[int]) -> Tensor:
        """Logits [1, L, vocabulary] of the prompt with these placeholders."""
        from transformers.modeling_outputs import BaseModelOutputWithPooling

        slots = [*range(BEFORE), *[BEFORE + token for token in kept]]
        slots += range(BEFORE + TOKENS, len(self.ids))
        device = self.features.device
        ids = torch.tensor([[self.ids[slot] for slot in slots]], dtype=torch.long, device=device)
        features = self.features[list(kept)]
        output = BaseModelOutputWithPooling(
            last_hidden_state=features[None], pooler_output=self.form(features)
        )

        inputs = {
            "input_ids": ids,
            # without a mask, positions with gaps would mean several samples in one row
            "attention_mask": torch.ones_like(ids),
            "mm_encoder_outputs": {"image": output},
        }

        if len(slots) < len(self.ids):
            inputs["position_ids"] = torch.tensor([slots], dtype=torch.long, device=device)

        logits: Tensor = self.model(**inputs, **self._sizes(ids)).logits
        return logits

    def refusal(self, reason: str) -> UnknownFamily:
        """The error that names the model and the reason."""
        return UnknownFamily(
            f"no family lists models of type {self.config.model_type!r}, and the check on this "
            f"model failed: {reason}. A family of its own could describe it (CONTRIBUTING, 'Add a "
            "family')"
        )

    def _sizes(self, ids: Tensor) -> dict[str, Tensor]:
        """What this model wants to know of its pictures beside the features."""
        types = (ids == self.config.image_token_id).long()
        vision = getattr(self.config, "vision_config", None)
        patches = SIDE * (getattr(vision, "spatial_merge_size", None) or 1)
        grid = torch.tensor([[1, patches, patches]], dtype=torch.long, device=ids.device)
        known = {
            "token_type_ids": types,
            "mm_token_type_ids": types,
            "image_grid_thw": grid,
        }
        return {name: value for name, value in known.items() if name in self.takes}

    def _words(self, count: int, vocabulary: int) -> list[int]:
        """Ids of text: none that the configuration names."""
        special = set()
        for name, value in self.config.to_dict().items():
            if name.endswith(("token_id", "token_index")) and isinstance(value, int):
                special.add(value)

        words = []
        for word in range(vocabulary - 1, -1, -1):
            if word not in special:
                words.append(word)
            if len(words) == count:
                break

        return words


def _as_list(features: Tensor) -> list[Tensor]:
    """[N, D] -> one entry per image, as models with pictures of several sizes return them."""
    return [features]


def _as_images(features: Tensor) -> Tensor:
    """[N, D] -> [images, N, D]."""
    return features[None]


def _as_rows(features: Tensor) -> Tensor:
    """[N, D], the rows of all images."""
    return features


def _parameters(module: nn.Module) -> set[str]:
    return set(inspect.signature(type(module).forward).parameters)


def _settings(module: Any) -> tuple[Any, ...]:
    """The plain settings of a module; layers that differ in one may rotate or mask otherwise."""
    plain = (bool, int, float, str, type(None))
    own = vars(module).items()
    return tuple((name, v) for name, v in own if isinstance(v, plain) and name != "layer_idx")
