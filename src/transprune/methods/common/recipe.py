"""Recipes: a method as text or JSON, and back. Nothing is ever evaluated.

A recipe file is JSON with a schema version:

    {"schema": 1, "method": "fastv", "layer": 2, "keep_ratio": 0.25}
    {"schema": 1, "method": "compose", "parts": [{"method": "visionzip", "keep": 192}, {"method": "transprune"}]}

Text on a command line is a preset or a name, alone or with values; `+` composes:

    transprune-high      fastv:layer=3,keep_ratio=0.25      visionzip:keep=192+transprune-low
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, ClassVar, TypeVar

from transprune.core import strict_json
from transprune.errors import MethodError, RecipeError
from transprune.methods.common.recipe_build import METHODS as METHODS
from transprune.methods.common.recipe_build import SCHEMA as SCHEMA
from transprune.methods.common.recipe_build import from_dict as from_dict
from transprune.methods.common.recipe_build import parse as parse
from transprune.methods.common.recipe_build import preset_names as preset_names
from transprune.methods.common.recipe_build import register as register
from transprune.methods.common.recipe_card import make_card
from transprune.methods.common.recipe_file import FILE_NAME, is_hub_id, read_json
from transprune.methods.common.recipe_hub import upload_recipe

# metadata of a setting that 0.1 did not have: it is written only where it is not the default, so
# that 0.1 reads every recipe that does not use it
ADDED = {"added": "0.2"}

R = TypeVar("R", bound="Recipe")


class Recipe:
    """A registered dataclass that can be written as a recipe. Every method is one.

    `presets` are classmethods (`transprune-high` is `TransPrune.high()`), `recipes` names for whole
    recipe texts.
    """

    name: ClassVar[str]
    presets: ClassVar[tuple[str, ...]] = ()
    recipes: ClassVar[Mapping[str, str]] = {}

    def to_dict(self) -> dict[str, Any]:
        """The recipe as JSON-ready data, schema version first."""
        return {"schema": SCHEMA, **_encode(self)}

    def save_pretrained(self, folder: str | os.PathLike[str]) -> Path:
        """Write the recipe into `folder` as `pruning_config.json`; returns the file.

        The folder is made if it is missing.

        Raises:
            RecipeError: it cannot be made or written.
        """
        file = Path(folder) / FILE_NAME
        text = strict_json.write(self.to_dict(), indent=2)
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text + "\n", encoding="utf-8")
        # ValueError: a null byte in the name
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or error
            raise RecipeError(
                f"cannot write {os.fspath(file)!r}: {reason}; give a folder that can be written"
            ) from error

        return file

    def push_to_hub(
        self,
        repo_id: str,
        *,
        card: str | None = None,
        base_model: str | None = None,
        commit_message: str = "Upload a pruning recipe",
        private: bool | None = None,
        token: str | bool | None = None,
        revision: str | None = None,
        create_pr: bool = False,
    ) -> str:
        """Upload the recipe with a card to the Hugging Face hub; `transprune push` adds figures.

        Args:
            repo_id: `"user/name"`; made if it is missing.
            card: Markdown of the card; None writes one from what the method says of itself.
            base_model: hub id of the model it was made for, for that card.
            commit_message, private, token, revision, create_pr: as for any upload to the hub.

        Returns:
            Address of the commit, or of the pull request.

        Raises:
            RecipeError: no right to write there, or the hub cannot be reached.
        """
        return upload_recipe(
            self,
            repo_id,
            make_card(self, repo_id, base_model) if card is None else card,
            commit_message=commit_message,
            private=private,
            token=token,
            revision=revision,
            create_pr=create_pr,
        )

    @classmethod
    def from_pretrained(
        cls: type[R],
        source: str | os.PathLike[str],
        *,
        revision: str | None = None,
        token: str | bool | None = None,
    ) -> R:
        """Read a recipe from a folder, a file or a hub repository.

        Args:
            source: where it is; a local folder or file wins over a repository of that name.
            revision: branch, tag or commit of a repository.
            token: of a private repository; None takes the one of `hf auth login`.

        Raises:
            RecipeError: no recipe there, or one of another method than the class this is called on.
        """
        recipe = from_dict(read_json(source, revision=revision, token=token))
        if not isinstance(recipe, cls):
            raise RecipeError(
                f"{os.fspath(source)!r} is a recipe of {recipe.name}, not of {cls.__name__}"
            )
        return recipe


def resolve(method: Recipe | str | os.PathLike[str]) -> Any:
    """A Method from itself, a preset or recipe text, or a recipe file, folder or hub repository.

    Typed Any because this module knows methods only as recipes.

    Raises:
        MethodError: a class instead of an instance, or something that is no method.
        UnknownMethod, RecipeError: a text or file that names none, or has settings it refuses.
    """
    if isinstance(method, Recipe):
        return method
    if isinstance(method, type) and issubclass(method, Recipe):
        raise MethodError(f"give an instance: {method.__name__}(), not the class {method.__name__}")
    if not isinstance(method, (str, os.PathLike)):
        raise MethodError(
            f"a method is a Method, a recipe text or a recipe file; got {type(method).__name__}"
        )

    text = os.fsdecode(method)
    if isinstance(method, os.PathLike) or text.endswith(".json"):
        return read_recipe(text)

    # the name of a method wins over a folder of that name: a clone of this repository is one
    if os.path.isdir(text) and text not in (*METHODS, *preset_names()):
        return read_recipe(text)
    # no recipe text has a slash in front of its settings
    return read_recipe(text) if is_hub_id(text) else parse(text)


def read_recipe(source: str | os.PathLike[str]) -> Recipe:
    """Read a recipe from a file, a folder, or a repository on the Hugging Face hub.

    Raises:
        RecipeError: nothing there, not JSON, or not a recipe.
    """
    return from_dict(read_json(source))


def _encode(method: Recipe) -> dict[str, Any]:
    """The name and the settings of a method, JSON-ready."""
    assert is_dataclass(method)
    data: dict[str, Any] = {"method": method.name}

    for field in fields(method):
        value = getattr(method, field.name)
        unused = "added" in field.metadata and value == field.default
        if field.init and not unused:
            data[field.name] = _encode_value(value)

    return data


def _encode_value(value: Any) -> Any:
    if isinstance(value, Recipe):
        return _encode(value)
    if hasattr(value, "to_dict"):
        return value.to_dict()
    if isinstance(value, (tuple, list, range)):
        return [_encode_value(item) for item in value]
    return value
