"""`python -m benchmarks.install`, without installing anything; `make test-wheel` does the rest."""

from __future__ import annotations

import ast
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

from benchmarks.install import __main__ as command  # noqa: E402
from benchmarks.install.environment import CHECKS, Installed, StepError, step  # noqa: E402

METADATA = "Metadata-Version: 2.4\nName: x\nProvides-Extra: one\nProvides-Extra: two\n\nText"


@pytest.fixture
def wheel(tmp_path) -> Path:
    """A wheel with two extras and nothing else."""
    file = tmp_path / "x-1.0-py3-none-any.whl"
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("x-1.0.dist-info/METADATA", METADATA)
    return file


@pytest.fixture
def tried(monkeypatch) -> list[str]:
    """The extras that were tried; `two` fails."""
    extras = []

    def install(folder, wheel, extra, also):
        assert list(also) == ["torch==2.13.0+cpu"][: len(also)]
        extras.append(extra)
        if extra == "two":
            raise StepError("no such package")
        return Installed(extra, 12, 345.6, 7.8, ("torchvision",) if extra else ())

    monkeypatch.setattr(command, "install", install)
    monkeypatch.setattr(command, "check", lambda folder, extra: None)
    return extras


def test_without_an_extra_it_is_the_wheel_alone(wheel, tried, capsys) -> None:
    assert command.main([str(wheel)]) == 0
    assert tried == [""]
    assert "(alone)             12      346        8" in capsys.readouterr().out


def test_one_that_fails_stops_no_other_and_is_told(wheel, tried, capsys) -> None:
    words = ["--extra", "two", "--extra", "one", "--also", "torch==2.13.0+cpu"]
    assert command.main([str(wheel), *words]) == 1
    assert tried == ["two", "one"]
    shown = capsys.readouterr()
    assert "FAILED: no such package" in shown.out
    assert "without torchvision" in shown.out
    assert shown.err.strip() == "failed: two"


def test_all_of_them_are_those_of_the_wheel(wheel, tried) -> None:
    assert command.main([str(wheel), "--extra", "all"]) == 1
    assert tried == ["one", "two"]


def test_an_extra_that_does_not_exist_is_named(wheel, tried, capsys) -> None:
    with pytest.raises(SystemExit):
        command.main([str(wheel), "--extra", "three"])
    assert "no extra three; there are one, two" in capsys.readouterr().err
    assert not tried


def test_a_wheel_that_grew_too_large_is_refused(wheel, tried, monkeypatch) -> None:
    monkeypatch.setattr(command, "LARGEST", 10)
    assert command.main([str(wheel)]) == 1
    assert not tried


def test_a_step_runs_without_this_clone_and_says_why_it_failed(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(ROOT / "src"))
    ask = "import os; print(os.environ.get('PYTHONPATH'), os.getcwd())"
    assert step([sys.executable, "-c", ask], tmp_path).split() == ["None", str(tmp_path)]
    with pytest.raises(StepError, match="oh no"):
        step([sys.executable, "-c", "raise SystemExit('oh no')"], tmp_path)


def test_checks_are_of_extras_that_exist() -> None:
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    for script in CHECKS.glob("*.py"):
        extra = script.stem.removeprefix("with_")
        assert extra == "alone" or f"\n{extra} = [" in text, script.name
        ast.parse(script.read_text(encoding="utf-8"))
