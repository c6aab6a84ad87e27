"""The files a release and a visitor of the repository need: true, and of one version."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
import yaml

import transprune
from cli.commands import commands

ROOT = Path(__file__).parents[2]
GITHUB = ROOT / ".github"
FORMS = sorted(path for path in (GITHUB / "ISSUE_TEMPLATE").glob("*.yml") if path.stem != "config")
PAGES = [*FORMS, GITHUB / "pull_request_template.md", ROOT / "SECURITY.md"]

# what GitHub accepts in an issue form, and what each kind of element must have
ELEMENTS = {
    "markdown": {"value"},
    "input": {"label"},
    "textarea": {"label"},
    "dropdown": {"label", "options"},
}


def read_yaml(path: Path) -> dict:
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def named_commands(path: Path) -> list[str]:
    """The commands in backticks of a file; in YAML they may break into two lines."""
    text = path.read_text(encoding="utf-8")
    return [" ".join(code.split()) for code in re.findall(r"`(transprune [^`]+)`", text)]


# ---------------------------------------------------------------------------------- the version


def test_the_version_is_a_release() -> None:
    assert re.fullmatch(r"\d+\.\d+\.\d+", transprune.__version__)


def test_the_changelog_begins_with_this_version() -> None:
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    first = re.search(r"^## (\S+)", text, re.MULTILINE)
    assert first is not None
    assert first.group(1) == transprune.__version__


# ------------------------------------------------------------------------------------- citation


def test_the_citation_is_of_this_version_and_names_the_paper() -> None:
    citation = read_yaml(ROOT / "CITATION.cff")
    assert str(citation["version"]) == transprune.__version__
    assert citation["cff-version"] == "1.2.0"
    assert {"message", "title", "authors"} <= set(citation)

    (paper,) = citation["references"]
    assert paper["type"] == "conference-paper"
    assert paper["url"] == "https://arxiv.org/abs/2507.20630"
    assert len(paper["authors"]) == 8


# ------------------------------------------------------------------------------------ templates


@pytest.mark.parametrize("path", FORMS, ids=lambda path: path.stem)
def test_a_form_is_one_that_github_takes(path: Path) -> None:
    form = read_yaml(path)
    assert set(form) <= {"name", "description", "title", "labels", "body"}
    assert form["name"] and form["description"]

    ids = []
    for element in form["body"]:
        kind = element["type"]
        assert ELEMENTS[kind] <= set(element["attributes"]), element
        if kind != "markdown":
            ids.append(element["id"])
        for option in element["attributes"].get("options", ()):
            assert isinstance(option, str)  # YAML reads a bare `No` as false
    assert ids and len(set(ids)) == len(ids)


def test_there_is_a_form_for_each_reason_to_write() -> None:
    assert [path.stem for path in FORMS] == ["bug", "method", "model", "question"]


def test_a_model_that_does_not_work_is_reported_with_what_doctor_says() -> None:
    elements = {element.get("id"): element for element in read_yaml(FORMS[2])["body"]}
    doctor = elements["doctor"]
    assert "`transprune doctor --model MODEL --json`" in doctor["attributes"]["description"]
    assert doctor["validations"]["required"] is True


COMMANDS = sorted({line for path in PAGES for line in named_commands(path)})


@pytest.mark.parametrize("line", COMMANDS)
def test_a_command_they_name_exists(cli, line: str) -> None:
    words = shlex.split(line)[1:]
    name = () if words[0].startswith("-") else (words[0],)
    assert name == () or name in commands(), line

    shown = cli(*name, "--help").out
    for word in words:
        if word.startswith("--"):
            assert re.search(rf"{word}\b", shown), f"{word} of {line!r}"


def test_there_are_commands_to_check() -> None:
    assert len(COMMANDS) >= 6


def test_what_doctor_prints_has_what_a_report_needs(cli) -> None:
    told = cli("doctor", "--model", "nano", "--method", "fastv", "--json").data
    assert told["transprune"] == transprune.__version__
    assert {"python", "torch", "transformers"} <= set(told["machine"]["versions"])
    assert {"platform", "devices", "attention"} <= set(told["machine"])
    assert {"model_type", "support", "weights", "processor", "methods"} <= set(told["model"])


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_files_they_name_exist(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    for name in re.findall(r"\b(?:docs/\w+|CONTRIBUTING|CHANGELOG)\.md\b", text):
        assert (ROOT / name).is_file(), name
