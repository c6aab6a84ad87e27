"""The page docs/models.md, from the registry of families. To write it anew:

PYTHONPATH=tests python -m support.models_page > docs/models.md
"""

# ruff: noqa: E501  rows of tables are one line

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

HEAD = """# Does it work with my model?

Ask for any checkpoint; its `config.json` is enough, no weights are read:

```
transprune doctor --model FOLDER_OR_HUB_ID           # --json for programs
transprune doctor --model FOLDER_OR_HUB_ID --load    # reads the weights too, and checks all of them
```

The answer is one of four, and `doctor` gives the reason wherever something does not run:

| support | means |
|---|---|
| a family of its own | modules, placeholders, tower and packing are described, and a tiny model of the true class is tested against a replay of every layer |
| its language model only | the same without the tower: methods that read it are refused by name, all others run |
| generic | nobody tested this model type, and a warning says so. It has the common shape, and the check below has to pass on the model itself |
| refused | with what is missing, or the reason against the type |

A method that does not fit says why: attention that cannot be read, a boundary behind the last
layer, a tower that is not described. [support.md](support.md) has every method and mode for every
family, as the tests found it.

## Families

"Embedded" are those of which the language model only is described; what they refuse are the
methods that read the vision tower: {tower}.

"""

GENERIC = """
## Any other model

A model of a type that is not listed is pruned if it has the common shape:

- `image_token_id` in its configuration, and a language model in `text_config`;
- decoder layers under `language_model` or `text_model`, each with `self_attn.q_proj` and `k_proj`,
  `input_layernorm` and `mlp`;
- features that are written over the embeddings of the placeholders, and nothing added between
  layers.

`doctor` names the part that is missing. Where none is, the model has to pass a check of its own
outputs, in evaluation mode, with 16 placeholders and random features in the form of its own
encoder's output; it leaves modes, hooks, weights, kernels and the random state as they were:

1. keeping every token changes no logit, to the bit;
2. dropping every second token in front of the language model is the same as a prompt that never
   had them, at the positions of those that are left (to 1e-4 of the largest logit in float32, 0.05
   in half precision; under M-RoPE, or with a window shorter than that prompt, this step is left
   out);
3. dropping every second token in the middle gives finite logits;
4. the attention that methods read of the layers around the middle is that of the model's own eager
   maps (to 1e-5 in float32, 0.01 in half precision; left out where the class returns no maps).

`doctor --load` runs it. It is a check of one prompt, and of pictures as the language model sees
them: compare some answers of your own before you trust the rest.

## Types that are refused by name

"""

TAIL = """
## When something is wrong with a checkpoint

| what | what you see |
|---|---|
| its model class is code that comes with it (`auto_map`) | `CheckpointError`; the code is neither run nor asked about. Look for a converted checkpoint, often named `-hf` |
| no image token id | refused: visual tokens could not be found |
| weights that are missing, damaged or of other shapes | `CheckpointError` that names some, before anything runs; transformers would fill them with random numbers |
| weights of another model | `doctor` notices by their shapes, without loading |
| a processor that does not fit the model | `CheckpointError` that names the field, its value and the model's |
| features in another number than placeholders | `LayoutError` with both numbers |
| a tower that no family knows | `MissingSignal` from methods that read it; others run |
| a picture of more than 89 megapixels | `ImageError`: scale it down first |
| an adapter added or modules replaced within a session | `SessionError` that names the module |
| a `torchvision` that was built for another torch | `doctor` names it: transformers fails with it |

## What it costs

`transprune cost --model NAME_OR_FOLDER --method METHOD` counts from sizes alone. Besides the models
of the published tables these are known by name: {known}. Mixtures of experts count what one token
visits, recurrent layers store no keys, and layers that share keys count them once.
"""


def table(rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table; the first row is its head."""
    head, *body = rows
    lines = [head, ["---"] * len(head), *body]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def families_table() -> str:
    """One row for each family, with its model types."""
    from transprune.families.base import FAMILIES

    types = defaultdict(list)
    for name in FAMILIES:
        types[FAMILIES.get(name).title].append(name)

    rows = [["family", "`model_type`", "described", "positions", "what it is"]]
    for title in sorted(types, key=str.lower):
        family = FAMILIES.get(types[title][0])
        if family.kind == "generic":
            continue
        described = {"listed": "all of it", "embedded": "embedded"}[family.kind]
        positions = "kept (M-RoPE)" if family.mrope else "kept or renumbered"
        names = ", ".join(f"`{name}`" for name in types[title])
        rows.append([title, names, described, positions, note(family)])
    return table(rows)


def note(family: Any) -> str:
    """The first sentence or two of its docstring."""
    return " ".join(family.__doc__.split("\n\n")[0].split())


def tower_methods() -> str:
    """Titles of the methods that read the vision tower."""
    from transprune.methods.common.recipe import METHODS, resolve

    names = []
    for name in METHODS:
        if name == "compose":  # it reads what its parts read
            continue
        method = resolve(name)
        if any(step.reads.vision for step in method.steps):
            names.append(METHODS.get(name).title.partition(":")[0])
    return ", ".join(sorted(names, key=str.lower))


def refused_table() -> str:
    """Model types that are refused by name, those with one reason together."""
    from transprune.families.refused import REFUSED

    types = defaultdict(list)
    for name, reason in REFUSED.items():
        types[reason].append(f"`{name}`")
    rows = [["`model_type`", "why"]]
    rows += [[", ".join(names), reason] for reason, names in types.items()]
    return table(rows)


def write() -> str:
    """The page."""
    from transprune.cost.known_sizes import MODELS

    head = HEAD.replace("{tower}", tower_methods())
    tail = TAIL.replace("{known}", ", ".join(MODELS))
    return head + families_table() + GENERIC + refused_table() + tail


if __name__ == "__main__":
    print(write(), end="")
