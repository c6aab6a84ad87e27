"""Shapes of published models, and miniatures of them: sizes and one prompt each, no weights.

Speed does not depend on what the weights are, so a model of the right shape with random weights
measures as the published one does. Each shape is one file in `configs/`: the configuration as
transformers reads it, and the prompt as the processor of the model would write it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from transprune.core import strict_json
from transprune.cost.geometry import known_geometry
from transprune.errors import UnknownFamily
from transprune.registry import did_you_mean

FOLDER = Path(__file__).parent / "configs"


@dataclass(frozen=True)
class Prompt:
    """The prompt of a shape: text, one picture, text.

    Attributes:
        words: lowest and highest id of the text tokens, which are drawn at random.
        before, after: text tokens on each side of the picture.
        opening, closing: ids that the chat template puts around a picture.
        image: id of the placeholder.
        visual_tokens: placeholders of one picture.
        noise: model input -> shape of its random numbers for one picture; pictures are joined along
            the first dimension.
        exact: model input -> its rows for one picture.
        token_types: name of the input that marks the placeholders, or None.
    """

    words: tuple[int, int]
    before: int
    after: int
    opening: Sequence[int]
    image: int
    closing: Sequence[int]
    visual_tokens: int
    noise: Mapping[str, Sequence[int]]
    exact: Mapping[str, Sequence[Sequence[int]]]
    token_types: str | None

    @property
    def text_tokens(self) -> int:
        """Tokens of a prompt with one picture that are not visual."""
        return self.before + len(self.opening) + len(self.closing) + self.after


@dataclass(frozen=True)
class Shape:
    """Sizes of one model and its prompt.

    Attributes:
        name: as on a command line, `"llava-1.5-7b"`.
        title: as in tables.
        picture: size of the picture in words.
        config: the fields of `config.json`.
        prompt: the prompt.
    """

    name: str
    title: str
    picture: str
    config: Mapping[str, Any]
    prompt: Prompt


def shape_names() -> list[str]:
    """The names of all shapes, sorted."""
    return sorted(file.stem for file in FOLDER.glob("*.json"))


@cache
def find_shape(name: str) -> Shape:
    """The shape of this name, or of a known model's other spellings (`llava-hf/llava-1.5-7b-hf`).

    Raises:
        UnknownFamily: no shape of that name.
    """
    if name in shape_names():
        return _read(name)

    try:
        known = known_geometry(name).name.lower()
    except UnknownFamily:
        known = name

    if known not in shape_names():
        raise UnknownFamily(
            f"no shape {name!r}.{did_you_mean(name, shape_names())} Known: "
            f"{', '.join(shape_names())}; for any other model give its checkpoint"
        )

    return _read(known)


def _read(name: str) -> Shape:
    data = strict_json.read((FOLDER / f"{name}.json").read_bytes())
    words = data["prompt"].pop("words")
    prompt = Prompt(words=(words[0], words[1]), **data["prompt"])
    return Shape(name, data["title"], data["picture"], data["config"], prompt)
