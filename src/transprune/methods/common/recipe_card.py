"""The card of a recipe on the Hugging Face hub: what it is, where it comes from, how to run it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from transprune.core import strict_json

if TYPE_CHECKING:
    from transprune.methods.common.recipe import Recipe

LIBRARY = "transprune"
TAGS = (LIBRARY, "token-pruning", "vision-language-model")

OPENING = (
    "A recipe that makes a vision-language model cheaper at inference, without changes to the model: "
    "fewer visual tokens, one of which stands for each patch of a picture, or less work on them.\n"
)

# kind of a method -> what it does with visual tokens
WHERE = {
    "projector-side": "drops visual tokens once, in front of the language model",
    "within-LLM": "drops visual tokens between layers of the language model",
    "hybrid": "drops visual tokens in front of the language model, and between its layers",
    "cache": "drops no token: it evicts keys and values of visual tokens behind the prompt",
}
FREEZES = "drops no token: visual tokens skip the work of some layers"
LAYERS = 512  # more than any model has: so every order of layers fits

USE = """## Use

```python
from transprune import prune

with prune(model, "{repo_id}") as session:      # an unmodified transformers model
    out = model.generate(**inputs)
print(session.trace)
```

```
transprune run --model {model} --method {repo_id} --image FILE --question QUESTION
```
"""

# where nobody counted; this module knows methods only as recipes, and no costs
COST = """## Cost

```
transprune cost --model {model} --method {repo_id}
```
"""


def make_card(
    recipe: Recipe,
    repo_id: str,
    base_model: str | None = None,
    sections: Sequence[str] = (),
) -> str:
    """The card as Markdown, with the metadata the hub reads in front.

    Args:
        recipe: the method.
        repo_id: where it will be.
        base_model: hub id of the model it was made for; None where it is for any.
        sections: further parts, Markdown with a heading each, as costs and measured figures. Without
            any, the card names the command that counts the cost.
    """
    from huggingface_hub import ModelCardData

    # the hub finds a repository by these
    metadata = ModelCardData(
        library_name=LIBRARY,
        pipeline_tag="image-text-to-text",
        tags=list(TAGS),
        base_model=base_model,
    )

    parts = [
        f"---\n{metadata.to_yaml()}\n---\n",
        f"# {repo_id.split('/')[-1]}\n",
        OPENING,
        "## What it prunes\n",
        _sources(recipe),
        f"```json\n{strict_json.write(recipe.to_dict(), indent=2)}\n```\n",
        USE.format(repo_id=repo_id, model=base_model or "MODEL"),
        *(sections or [COST.format(repo_id=repo_id, model=base_model or "MODEL")]),
    ]
    return "\n".join(parts)


def _sources(recipe: Recipe) -> str:
    """One line per method of the recipe: what it is and does, its paper, how close it is to that."""
    lines = []
    parts: Any = getattr(recipe, "parts", (recipe,))
    for part in parts:
        paper = f" ({part.paper})" if part.paper else ""
        lines.append(f"- {part.title}{paper}")
        where = FREEZES if part.frozen(LAYERS) else WHERE.get(part.kind)
        if where:
            lines.append(f"  - {where}")
        if part.reconstructed:
            lines.append(f"  - reconstructed: {part.reconstructed}")
        if part.differs_from_code:
            lines.append(f"  - differs from the released code: {part.differs_from_code}")

    return "\n".join(lines) + "\n"
