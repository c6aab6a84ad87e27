"""Every method says how close it is to its definition, and what was filled in where it is not."""

from __future__ import annotations

import pytest

from transprune.cli.methods import describe
from transprune.cli.methods_settings import write_fidelity
from transprune.methods.common.recipe import METHODS


@pytest.mark.parametrize("name", list(METHODS))
def test_every_method_says_how_exact_it_is(name: str) -> None:
    cls = METHODS.get(name)
    if cls.kind == "composition":
        assert cls.fidelity == "", "its parts say it"
        return

    assert cls.fidelity in ("exact", "reconstructed", "trained", "control")
    assert (cls.fidelity == "control") == cls.paper.startswith("control")
    # of a trained method it also says where its weights come from
    assert (cls.fidelity in ("reconstructed", "trained")) == bool(cls.reconstructed)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("fastv", "exact: as published"),
        ("pact", "exact"),
        ("tome", "reconstructed: one reduction behind the tower"),
        ("lvpruning", "trained: needs weights of `transprune train-pruner`"),
    ],
)
def test_the_words(name: str, words: str) -> None:
    about = describe(name)
    assert write_fidelity(about).startswith(words)
    assert about["fidelity"] == words.partition(":")[0]


def test_the_command_shows_it(cli_text) -> None:
    assert "reconstructed: rounding, positions" in cli_text("methods", "fastav")
    assert "exact: as published" in cli_text("methods", "fastv")
    assert "reconstructed" in cli_text("methods")


@pytest.fixture
def cli_text():
    """What a command prints, on one line."""
    from typer.testing import CliRunner

    from transprune.cli import app

    def run(*words: str) -> str:
        result = CliRunner().invoke(app, words, env={"COLUMNS": "100"})
        assert result.exit_code == 0
        return " ".join(result.output.split())

    return run
