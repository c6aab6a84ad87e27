"""Build methods from the text or the data of a recipe. Nothing is ever evaluated.

The grammar is in `transprune.methods.common.recipe`. A method is known by its name only, and its
settings go to its class, which checks them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import TYPE_CHECKING, Any

from transprune.core.shown import shown
from transprune.errors import MethodError, RecipeError, UnknownMethod
from transprune.methods.common.recipe_check import LONGEST_NAME, check_settings
from transprune.methods.common.recipe_text import split_part
from transprune.registry import Registry, did_you_mean

if TYPE_CHECKING:
    from transprune.methods.common.recipe import Recipe

SCHEMA = 1

METHODS: Registry[Any] = Registry(
    "method", "transprune.methods", UnknownMethod, home="transprune.methods"
)
register = METHODS.register


def parse(text: str) -> Recipe:
    """The method that a recipe text names."""
    parts = []
    for part in text.split("+"):
        name, values = split_part(part.strip())
        parts.append(_named(name, values))

    if len(parts) == 1:
        return parts[0]

    # looked up by name: this module imports no method
    compose: Any = METHODS.get("compose")
    return compose(parts)


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
