"""One registry for methods and families: names, typos, duplicates, plugins."""

from __future__ import annotations

import builtins
import sys
from pathlib import Path

import pytest

from transprune import registry
from transprune.errors import PruneError, UnknownFamily, UnknownMethod
from transprune.registry import Registry, did_you_mean


def fresh(**options: str) -> Registry[object]:
    return Registry("method", "transprune.test_group", UnknownMethod, **options)


def test_registers_and_finds() -> None:
    methods = fresh()

    @methods.register("mine")
    class Mine:
        pass

    assert methods.get("mine") is Mine
    assert Mine.name == "mine"
    assert "mine" in methods and "yours" not in methods and 3 not in methods


def test_iterates_in_alphabetical_order() -> None:
    methods = fresh()
    for name in ("zip", "alpha", "mid"):
        methods.register(name)(type(name, (), {}))
    assert list(methods) == ["alpha", "mid", "zip"]


def test_unknown_names_get_the_closest_and_all_others() -> None:
    methods = fresh(cure=" Write one.")
    for name in ("transprune", "fastv"):
        methods.register(name)(type(name, (), {}))
    with pytest.raises(UnknownMethod) as error:
        methods.get("tranprune")
    assert str(error.value) == (
        "no method 'tranprune'. Did you mean 'transprune'? Known: fastv, transprune. Write one."
    )
    with pytest.raises(UnknownMethod, match=r"no method 'zzz'\. Known: fastv, transprune\."):
        methods.get("zzz")


def test_each_registry_has_its_own_error() -> None:
    with pytest.raises(UnknownFamily, match="no family 'gpt2'"):
        Registry("family", "transprune.test_group", UnknownFamily).get("gpt2")
    assert issubclass(UnknownFamily, LookupError)


def test_duplicates_are_refused() -> None:
    methods = fresh()

    @methods.register("mine")
    class Mine:
        pass

    with pytest.raises(PruneError, match="two methods are called 'mine'"):
        methods.register("mine")(type("Other", (), {}))
    assert methods.get("mine") is Mine


def test_a_module_may_be_imported_again() -> None:
    """A reloaded module, as in a notebook, brings the same class anew."""
    methods = fresh()
    classes = [type("Mine", (), {"__module__": "somewhere"}) for _ in range(2)]
    for cls in classes:
        methods.register("mine")(cls)
    assert methods.get("mine") is classes[1]


def test_plugins_load_when_first_asked_and_once(monkeypatch: pytest.MonkeyPatch) -> None:
    methods, loads = fresh(), []

    class Point:
        def load(self) -> None:
            loads.append(self)
            methods.register("plugged")(type("Plugged", (), {}))

    def entry_points(*, group: str) -> list[Point]:
        assert group == "transprune.test_group"
        return [Point()]

    monkeypatch.setattr(registry, "entry_points", entry_points)
    methods.register("own")(type("Own", (), {}))
    assert loads == []
    assert list(methods) == ["own", "plugged"]
    assert "plugged" in methods
    assert methods.get("plugged").__name__ == "Plugged"
    assert len(loads) == 1


def test_every_module_of_the_home_package_is_imported_before_plugins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "test_home_of_methods"
    home.mkdir()
    for name in ("__init__", "one", "two"):
        (home / f"{name}.py").write_text(
            f"import builtins; builtins.test_home_order.append({name!r})\n"
        )
    order: list[str] = []
    monkeypatch.setattr(builtins, "test_home_order", order, raising=False)
    monkeypatch.syspath_prepend(tmp_path)

    class Point:
        def load(self) -> None:
            order.append("plugin")

    monkeypatch.setattr(registry, "entry_points", lambda *, group: [Point()])
    methods = fresh(home=home.name)
    assert order == []
    assert list(methods) == list(methods) == []
    assert order == ["__init__", "one", "two", "plugin"]
    for name in (home.name, f"{home.name}.one", f"{home.name}.two"):
        del sys.modules[name]


def test_did_you_mean() -> None:
    assert did_you_mean("fastw", ["fastv", "pdrop"]) == " Did you mean 'fastv'?"
    assert did_you_mean("zzz", ["fastv", "pdrop"]) == ""
    assert did_you_mean("fastv", []) == ""
