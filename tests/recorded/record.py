"""Record what version 0.1.0 computed, so that a change of structure cannot change an answer.

    python tests/recorded/record.py tests/recorded/0.1.0

Run on 0.1.0 (commit 16ca0ea, torch 2.13.0, transformers 5.23.0). `test_recorded.py` runs the same cases and
compares. Methods are named by recipe text, models by family: nothing here depends on where the code lives.

0.2.0 computes PACT and version 2 of SparseVLM as their released codes do; 0.1.0 did not. Their entries in `tiny.json`
were recorded again, every other one is that of 0.1.0:

    python tests/recorded/record.py tests/recorded/0.1.0 pact sparsevlm-plus
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).parents[1]))

import transprune
from families.cases import FAMILIES, Zoo

FAMILY_NAMES = ("llava", "llava_next", "qwen2_5_vl")

RECIPES = (
    "transprune:keep=2:0.75,4:0.5,6:0.2",
    "transprune:keep=2:0.75,4:0.5,6:0.2,alpha=1.0",
    "transprune:keep=2:0.75,4:0.5,6:0.2,alpha=0.0",
    "transprune:keep=2:0.75,4:0.5,6:0.2,direction=one_minus_cos,softmax_over=visual",
    "transprune:keep=2:0.75,4:0.5,accumulation=false",
    "fastv:layer=2,keep_ratio=0.4",
    "pdrop:keep=2:0.75,4:0.5,6:0.2",
    "sparsevlm:keep=2:0.75,4:0.5,6:0.2",
    "sparsevlm:keep=2:0.75,4:0.5,budget=rank,rank_scale=1.5,seed=none",
    "sparsevlm-plus:keep=2:0.75,4:0.5,6:0.2",
    "adaptinfer:keep=2:0.75,4:0.5,6:0.2",
    "pact:layer=2",
    "pact:layer=3,keep_ratio=0.9,cutoff=0.9,recover=1.1",
    "shortv",
    "visionzip:keep=0.4",
    "divprune:keep_ratio=0.3",
    "divprune:keep_ratio=0.3,proportional=true",
    "cdpruner:keep=0.4",
    "cdpruner:keep=0.4,relevance=embedding",
    "fastervlm:keep=0.4",
    "vispruner:keep=0.4",
    "prumerge:keep=0.4",
    "prumerge-plus:keep=0.4",
    "tome:keep=0.4",
    "vscan:keep=0.5,then=3:0.5",
    "downsample:keep=0.4",
    "pool:keep=0.4",
    "norm:keep=0.4",
    "random:keep=2:0.75,4:0.5",
    "uniform:keep=0:0.5,4:0.25",
    "visionzip:keep=0.5+transprune:keep=2:0.75,4:0.4",
)

OPTIONS: tuple[dict[str, Any], ...] = ({}, {"pool": "image"})

NANO_METHODS = (
    "transprune-high",
    "transprune-low",
    "transprune-nano",
    "fastv",
    "pdrop",
    "sparsevlm",
    "divprune:keep_ratio=0.25",
    "cdpruner:keep=64",
    "visionzip:keep=64+transprune-low",
    "vscan:keep=48",
)
NANO_QUESTIONS = ("what shape is the orange object?", "how many objects are there?")


def significant(tensor: torch.Tensor) -> list[float | None]:
    """Seven significant digits; None for what is not a number."""
    values = tensor.detach().double().flatten().tolist()
    return [None if value != value else float(f"{value:.7g}") for value in values]


def record_trace(trace: Any) -> dict[str, Any]:
    """Kept tokens, scores, and both costs of one prefill."""
    return {
        "keep": [[tokens.tolist() for tokens in stage.keep] for stage in trace.stages],
        "scores": [
            {
                name: [significant(score) for score in scores]
                for name, scores in (stage.scores or {}).items()
            }
            for stage in trace.stages
        ],
        "boundaries": [stage.boundary for stage in trace.stages],
        "kv_lengths": list(trace.kv_lengths),
        "kv_bytes": trace.kv_bytes,
        "frozen": list(trace.frozen),
        "positions": trace.positions,
        "cost": {name: trace.cost(name).to_dict() for name in ("paper", "exact")},
    }


@torch.no_grad()
def record_tiny(zoo: Zoo, family: str, recipe: str, options: dict[str, Any]) -> dict[str, Any]:
    """One recipe on one tiny model: a ragged batch, its last logits, and four greedy steps."""
    model, case = zoo(family, "sdpa"), FAMILIES[family]
    inputs = case.batch(case.ragged())
    try:
        with transprune.prune(model, placed(recipe), record="scores", **options) as session:
            logits = model(**inputs).logits
            found = record_trace(session.trace)
            generated = model.generate(**inputs, max_new_tokens=4, do_sample=False)
    except transprune.PruneError as error:
        return {"error": type(error).__name__}
    found["logits"] = [significant(row) for row in logits[:, -1, :12]]
    found["generated"] = generated[:, inputs["input_ids"].shape[1] :].tolist()
    return found


@torch.no_grad()
def record_nano(model: Any, processor: Any, recipe: str, question: str) -> dict[str, Any]:
    """One recipe on the bundled model, with a picture of the demo."""
    from PIL import Image

    picture = sorted(picture_folder().glob("*.png"))[1]
    prompt = processor.apply_chat_template(
        [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": question}]}],
        add_generation_prompt=True,
        tokenize=False,
    )
    inputs = processor(text=prompt, images=[Image.open(picture)], return_tensors="pt")
    with transprune.prune(model, placed(recipe), record="scores") as session:
        generated = model.generate(**inputs, max_new_tokens=4, do_sample=False)
    found = record_trace(session.trace)
    found["answer"] = processor.tokenizer.decode(generated[0, inputs["input_ids"].shape[1] :])
    return found


def picture_folder() -> Path:
    """The pictures of the demo, wherever they live."""
    package = Path(transprune.__file__).parent
    return next(folder for folder in package.rglob("pictures") if folder.is_dir())


def placed(recipe: str) -> str:
    """The recipe as 0.1.0 ran it: recycled tokens stayed at the places of their clusters' centres."""
    name, _, settings = recipe.partition(":")
    if name != "sparsevlm":
        return recipe
    return f"{name}:{settings},order=in_place" if settings else f"{name}:order=in_place"


def cases() -> list[tuple[str, str, dict[str, Any]]]:
    """Every (family, recipe, options) that is recorded."""
    return [
        (family, recipe, options)
        for family in FAMILY_NAMES
        for recipe in RECIPES
        for options in OPTIONS
    ]


def key_of(family: str, recipe: str, options: dict[str, Any]) -> str:
    """The name of one recording."""
    return " ".join([family, recipe, *(f"{name}={value}" for name, value in options.items())])


def record_again(folder: Path, names: list[str]) -> None:
    """Record anew the entries of tiny models whose recipe begins with one of these names."""
    torch.set_num_threads(1)
    path = folder / "tiny.json"
    recorded = json.loads(path.read_text())

    with tempfile.TemporaryDirectory() as scratch:
        zoo = Zoo(Path(scratch))
        for case in cases():
            if case[1].partition(":")[0] in names:
                recorded[key_of(*case)] = record_tiny(zoo, *case)

    path.write_text(json.dumps(recorded, separators=(",", ":")) + "\n")


def main(folder: Path) -> None:
    """Write one JSON file of tiny models and one of the bundled model."""
    from transformers import AutoModelForImageTextToText, AutoProcessor

    torch.set_num_threads(1)
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        zoo = Zoo(Path(scratch))
        tiny = {key_of(*case): record_tiny(zoo, *case) for case in cases()}
    path = transprune.nano.path()
    model = AutoModelForImageTextToText.from_pretrained(path, dtype=torch.float32).eval()
    processor = AutoProcessor.from_pretrained(path)
    nano = {
        f"{recipe} {question}": record_nano(model, processor, recipe, question)
        for recipe in NANO_METHODS
        for question in NANO_QUESTIONS
    }
    for name, recorded in (("tiny", tiny), ("nano", nano)):
        (folder / f"{name}.json").write_text(json.dumps(recorded, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    place, *some = sys.argv[1:]
    if some:
        record_again(Path(place), some)
    else:
        main(Path(place))
