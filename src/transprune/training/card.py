"""The card of trained weights: README.md beside them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from transprune.bench.data.manifest import cannot_write
from transprune.errors import TrainingError
from transprune.methods.common.trained_weights import TrainedWeights

CARD = """\
# {method}: trained weights for {model}

Weights of the pruning method `{method}`, trained with `transprune train-pruner`. They belong to a
`{model_type}` of width {width} and {layers} decoder layers, and to no other model.

```
transprune run --model MODEL --method {method}:weights=FOLDER ...
```

| what | value |
|---|---|
| modules at boundaries | {boundaries} |
| inner width | {inner} |
| recipe that was aimed at | `{recipe}` |
| questions | {questions}: {trained} to learn from, {held_out} held out with their pictures |
| steps, batch, peak learning rate, seed | {steps}, {batch_size}, {learning_rate}, {seed} |
| loss, first and last part of the training | {first_loss:.4f}, {last_loss:.4f} |
| transprune, torch, transformers | {versions} |

## Held-out questions

{judged} of the questions whose pictures were held out; answers of at most four tokens, compared with
the unpruned model's. A control that keeps as many tokens stands beside it.

| method | KL divergence, nats | same answers, % |
|---|---|---|
{rows}

What was learnt is which tokens these questions need; on other questions compare with `random` first.
"""


def write_card(folder: Path, weights: TrainedWeights) -> Path:
    """Write README.md into `folder`; returns the file.

    Raises:
        TrainingError: it cannot be written.
    """
    file = folder / "README.md"
    try:
        file.write_text(card(weights), encoding="utf-8")
    except OSError as error:
        raise TrainingError(cannot_write(file, error)) from error
    return file


def card(weights: TrainedWeights) -> str:
    """The text of the card."""
    training: Any = weights.training
    held = training["held out"]
    rows = [
        f"| {name} | {figures['kl']:.4f} | {figures['same']:.1f} |"
        for name, figures in held.items()
        if isinstance(figures, dict)
    ]

    named = [training["versions"][name] for name in ("transprune", "torch", "transformers")]
    fit = vars(weights.fit)

    return CARD.format(
        **{name: fit[name] for name in ("method", "model_type", "width", "layers", "inner")},
        **{
            name: training[name]
            for name in ("trained", "held_out", "steps", "batch_size", "learning_rate", "seed")
        },
        model=Path(training["model"]).name,
        questions=Path(training["questions"]).name,
        boundaries=", ".join(map(str, sorted(weights.modules))),
        recipe=_recipe(training["method"]),
        first_loss=training["curve"][0]["loss"],
        last_loss=training["curve"][-1]["loss"],
        versions=", ".join(named),
        judged=held["questions"],
        rows="\n".join(rows),
    )


def _recipe(recipe: Any) -> str:
    """The settings that say how much stays."""
    keep = recipe.get("keep")
    if isinstance(keep, dict):
        shares = ",".join(f"{at}:{share:g}" for at, share in keep["keep"].items())
        depth = f" of {keep['depth']} layers" if keep.get("depth") else ""
        return f"{recipe['method']}:keep={shares}{depth}"
    return str(recipe["method"])
