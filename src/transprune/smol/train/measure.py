"""How well a tower knows what it sees, thing by thing, on scenes it was not trained on."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from transprune.smol.kinds import Split
from transprune.smol.palette import COLORS
from transprune.smol.scenes import Scene, draw
from transprune.smol.things import SIGN, Thing
from transprune.smol.train.heads import HEADS
from transprune.smol.train.labels import CHARACTERS, all_names, known_names, told_name
from transprune.smol.vision import look
from transprune.smol.world import World

TOP = 5


@dataclass(frozen=True)
class TowerScores:
    """What a tower got right, in percent, and of how many.

    Attributes:
        percent: by what was to be known: `name`, `name in 5`, `word` (of a sign), `color`,
            `character`, `ground`.
        asked: how many of each.
    """

    percent: dict[str, float]
    asked: dict[str, int]

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {
            name: {"percent": round(value, 2), "asked": self.asked[name]}
            for name, value in self.percent.items()
        }


@torch.no_grad()
def measure_tower(
    module: nn.ModuleDict,
    world: World,
    vectors: Tensor,
    split: Split = "validation",
    scenes: int = 100,
    unseen: bool = False,
) -> TowerScores:
    """Look at the first scenes of a split.

    A thing's name and colour are what its patches predict on average, and a sign's word likewise;
    a sign with a number counts for its characters only. Names are chosen among those of training,
    and with `unseen` among all names; the tower was trained on most of these, and they are wrong.

    Args:
        module: of `heads.new_module`, trained.
        world: what pictures are drawn from.
        vectors: of all names.
        split: `"validation"` to choose by, `"test"` to report.
        scenes: how many.
        unseen: show kinds that no training picture has.
    """
    device = next(module.parameters()).device
    names = all_names(world.kinds.names)
    known = range(len(names)) if unseen else known_names(world.kinds)
    choices = [names[number] for number in known]
    verdicts: dict[str, list[bool]] = defaultdict(list)

    for number in range(scenes):
        scene = draw(world, split, number, unseen=unseen)
        patches = look(module["tower"], torch.from_numpy(scene.pixels)[None].to(device)).patches[0]
        logits = module["patch_names"](patches, vectors[list(known)].to(device)).cpu()
        parts = module["heads"](patches).float().cpu().split(tuple(HEADS.values()), dim=-1)

        _judge_patches(verdicts, scene, parts[0][:, 0], parts[2])
        for place, thing in enumerate(scene.things):
            mine = torch.from_numpy(scene.owner == place)
            if told_name(thing) != SIGN and mine.any():
                _judge_thing(verdicts, thing, choices, logits[mine], parts[1][mine])

    percent = {name: 100 * sum(found) / len(found) for name, found in verdicts.items()}
    return TowerScores(percent, {name: len(found) for name, found in verdicts.items()})


def _judge_patches(
    verdicts: dict[str, list[bool]], scene: Scene, thing: Tensor, characters: Tensor
) -> None:
    """Thing or ground of every patch [N], and the likeliest character of written ones [N, 37]."""
    owned = torch.from_numpy(scene.owner >= 0)
    verdicts["ground"] += ((thing > 0) == owned).tolist()

    # "none", the last place, is not among the answers to which character it is
    best = characters[:, :-1].argmax(dim=-1).tolist()
    for patch, text in enumerate(scene.letters):
        if text:
            verdicts["character"].append(CHARACTERS[best[patch]] in text)


def _judge_thing(
    verdicts: dict[str, list[bool]],
    thing: Thing,
    choices: list[str],
    logits: Tensor,
    colors: Tensor,
) -> None:
    """Name and colour of a thing, from its patches: [n, K] and [n, 11]."""
    best = logits.log_softmax(dim=-1).mean(dim=0).topk(min(TOP, len(choices))).indices.tolist()
    name, first = told_name(thing), [choices[number] for number in best]
    if thing.word is not None:
        verdicts["word"].append(first[0] == name)
        return
    verdicts["name"].append(first[0] == name)
    verdicts[f"name in {TOP}"].append(name in first)

    if thing.color is not None:
        color = colors.log_softmax(dim=-1).mean(dim=0).argmax().item()
        verdicts["color"].append(COLORS[int(color)] == thing.color)
