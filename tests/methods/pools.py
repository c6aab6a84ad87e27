"""Pools of made-up visual tokens, for the contracts that need no model: any number of tokens, equal ones if wanted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from methods.trained import draw_weights
from transprune.core.frames import Frames
from transprune.core.plan import Stage
from transprune.core.signals import SIGNALS, WITHOUT_ROWS, JointSpace, Tile, VisionSignals
from transprune.core.views import LayerView, ProjectorView
from transprune.families.depths import is_attention
from transprune.methods import Method, ProjectorPruner

WIDTH, HEADS, WORDS = 12, 4, 5


@dataclass
class Pool:
    """`n` tokens with features, attention and signals of the vision tower; `copies` of each one stand in a row."""

    n: int
    copies: int = 1
    seed: int = 0

    def draw(self, *shape: int, dim: int = 0) -> Tensor:
        """Random numbers in which equal tokens are equal along `dim`."""
        generator = torch.Generator().manual_seed(self.seed + sum(shape))
        values = torch.randn(*shape, generator=generator)
        return values.index_select(dim, torch.arange(shape[dim]) // self.copies * self.copies)

    def view(self, method: Method, stage: Stage) -> Any:
        """What `method` sees of this pool at `stage`."""
        tokens, hidden = torch.arange(self.n), self.draw(self.n, WIDTH)
        if isinstance(method, ProjectorPruner):
            return ProjectorView(
                stage.boundary,
                stage.count,
                tokens,
                lambda: hidden,
                merged=stage.merged,
                _instruction=lambda: torch.randn(
                    WORDS, WIDTH, generator=torch.Generator().manual_seed(1)
                ),
                signals={
                    "vision": lambda: self.vision(method),
                    "frames": self.frames,
                    "joint": lambda: JointSpace(self.draw(self.n, 6), torch.ones(1, 6)),
                    "module": lambda: draw_weights("asymvlm", WIDTH).modules[0],
                },
            )
        return LayerView(
            stage.boundary,
            stage.count,
            tokens,
            lambda: hidden,
            merged=stage.merged,
            signals={
                "vision": lambda: self.vision(method),
                "attention": lambda: self,
                "embeddings": self.embeddings,
                "layer_rows": self.layer_rows,
                "instruction_rows": lambda: self.embeddings()[1],
                "module": lambda: draw_weights("lvpruning", WIDTH).modules[1],
            },
        )

    def frames(self) -> Frames:
        """One video, whose frames have four tokens each, but for the last one."""
        tokens = np.arange(self.n)
        return Frames(np.zeros_like(tokens), tokens // 4, tokens % 4)

    def vision(self, method: Method) -> VisionSignals:
        """All signals of one crop with a grid of one row, and those with a threshold that are announced."""
        widths = {"keys": (3,), "outer_keys": (8,), "place": (2,), "grid": (2,)}
        names = {*SIGNALS, *method.reads.vision} - WITHOUT_ROWS
        drawn = {name: self.draw(self.n, *widths.get(name, ())) for name in names}
        place = torch.stack([torch.zeros(self.n), torch.arange(self.n)], dim=1).long()
        drawn |= {"place": place, "grid": torch.tensor([[1, self.n]]).expand(self.n, -1)}
        drawn |= {
            name: values.softmax(dim=0)
            for name, values in drawn.items()
            if is_attention(name) and "keys" not in name
        }
        return VisionSignals(
            crop=torch.zeros(self.n, dtype=torch.long),
            signals=drawn,
            cls=torch.ones(1, WIDTH),
            states=self.draw(self.n, 7),
            project=lambda states: states @ torch.ones(7, WIDTH),
            encode=lambda crop, rows, columns: torch.ones(rows * columns, WIDTH),
            find_tiles=lambda: (Tile(0, 0, 0, 1, 1),),
        )

    def to_visual(self, queries: str) -> Tensor:
        rows = 1 if queries == "last" else WORDS
        return self.draw(HEADS, rows, self.n, dim=2).softmax(dim=2)

    def within_instruction(self) -> Tensor:
        return torch.rand(HEADS, WORDS, WORDS, generator=torch.Generator().manual_seed(2))

    def keys(self, rotated: bool) -> Tensor:
        return self.draw(HEADS // 2, self.n, 3, dim=1)

    def context_keys(self) -> Tensor:
        return torch.randn(HEADS // 2, WORDS, 3, generator=torch.Generator().manual_seed(5))

    def mean_query(self) -> Tensor:
        return torch.randn(HEADS, 3, generator=torch.Generator().manual_seed(3))

    def received(self) -> tuple[Tensor, Tensor]:
        of_words = self.to_visual("instruction").amax(dim=0).sum(dim=0)
        return self.draw(self.n).sigmoid(), of_words

    def rotary_decay(self, queries: str) -> Tensor:
        return torch.ones(WORDS, self.n)

    def layer_rows(self) -> tuple[Tensor, Tensor]:
        return self.draw(self.n, WIDTH), self.draw(self.n, WIDTH) + 0.1

    def embeddings(self) -> tuple[Tensor, Tensor]:
        return self.draw(self.n, WIDTH), torch.randn(
            WORDS, WIDTH, generator=torch.Generator().manual_seed(4)
        )
