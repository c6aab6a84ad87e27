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
from transprune.core.shown import shown
from transprune.errors import MethodError, RecipeError, UnknownMethod
from transprune.methods.common.recipe_card import make_card
from transprune.methods.common.recipe_check import LONGEST_NAME, check_settings
from transprune.methods.common.recipe_file import FILE_NAME, is_hub_id, read_json
from transprune.methods.common.recipe_hub import upload_recipe
from transprune.methods.common.recipe_text import split_part
from transprune.registry import Registry, did_you_mean

SCHEMA = 1

# metadata of a setting that 0.1 did not have: it is written only where it is not the default, so
# that 0.1 reads every recipe that does not use it
ADDED = {"added": "0.2"}

METHODS: Registry[Any] = Registry(
    "method", "transprune.methods", UnknownMethod, home="transprune.methods"
)
register = METHODS.register

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


def parse(text: str) -> Recipe:
    """The method a recipe text names; see the module docstring for the grammar."""
    parts = []
    for part in text.split("+"):
        name, values = split_part(part.strip())
        parts.append(_named(name, values))

    if len(parts) == 1:
        return parts[0]
    # looked up by name: this module imports no method
    compose: Any = METHODS.get("compose")
    return compose(parts)


def read_recipe(source: str | os.PathLike[str]) -> Recipe:
    """Read a recipe from a file, a folder, or a repository on the Hugging Face hub.

    Raises:
        RecipeError: nothing there, not JSON, or not a recipe.
    """
    return from_dict(read_json(source))


def from_dict(data: Mapping[str, Any]) -> Recipe:
    """The method that a recipe describes.

    Raises:
        RecipeError: not a mapping, a newer schema, unknown keys, or values a method refuses.
        UnknownMethod: no method of that name.
    """
    if not isinstance(data, Mapping) or "method" not in data:
        raise RecipeError(f"a recipe is a mapping with a 'method' key; got {shown(data)}")

    # a copy: the caller's mapping stays whole
    data = dict(data)
    schema = data.pop("schema", SCHEMA)
    if type(schema) is not int or not 1 <= schema <= SCHEMA:
        raise RecipeError(
            f"this recipe has schema {shown(schema)}; this release reads up to {SCHEMA}. Upgrade "
            "transprune to use it."
        )

    return _build(data.pop("method"), data)


def preset_names(*methods: str) -> list[str]:
    """Every preset text, as `transprune-high`, and every named recipe.

    Of these methods only, if any are given.
    """
    names = []
    for method in methods or METHODS:
        cls = METHODS.get(method)
        names += [f"{method}-{preset}" for preset in cls.presets]
        names += cls.recipes

    return names


def _named(name: str, values: dict[str, Any]) -> Recipe:
    """A method, a preset or a named recipe; `values` change the settings of the first two."""
    if name in METHODS:
        return _build(name, values)

    recipes: dict[str, str] = {}
    for method in METHODS:
        recipes |= METHODS.get(method).recipes

    if name in recipes:
        if values:
            raise RecipeError(
                f"{name} is the composition {recipes[name]!r}; write that out to change its "
                "settings"
            )
        return parse(recipes[name])

    # `transprune-high` is `TransPrune.high()`
    base, _, preset = name.rpartition("-")
    if base in METHODS and preset in METHODS.get(base).presets:
        return _build(base, values, preset)

    known = [*METHODS, *preset_names()]
    # the comparison of names takes long for a long one
    name = name[:LONGEST_NAME]
    raise UnknownMethod(
        f"no method {name!r}.{did_you_mean(name, known)} Known: {', '.join(known)}."
    )


def _build(name: Any, values: dict[str, Any], preset: str = "") -> Recipe:
    """The method `name` with these settings; errors of the values become recipe errors."""
    cls = METHODS.get(str(name)[:LONGEST_NAME])
    check_settings(name, values, [field.name for field in fields(cls) if field.init])
    if "parts" in values:
        values = {**values, "parts": _build_parts(values["parts"])}

    make = getattr(cls, preset) if preset else cls
    try:
        return make(**values)
    except MethodError:
        raise  # it names the setting already
    # values of the wrong type fail wherever a method first uses them
    except Exception as error:
        raise RecipeError(f"{name} cannot be built from {shown(values)}: {error}") from error


def _build_parts(parts: Any) -> list[Recipe]:
    """The methods of a composition."""
    if not isinstance(parts, (list, tuple)):
        raise RecipeError(f"the parts of a composition are a list of recipes; got {shown(parts)}")

    # looked at before they are built: compositions inside each other would be built recursively
    for part in parts:
        if isinstance(part, Mapping) and "parts" in part:
            raise RecipeError(
                "a composition is a flat list of methods; put the parts of the inner one into the "
                "outer one"
            )
    return [from_dict(part) for part in parts]


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
