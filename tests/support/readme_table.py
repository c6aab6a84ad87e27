"""The table of methods and models in README.md, from the registries. To write it anew:

PYTHONPATH=tests python -m support.readme_table
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

README = Path(__file__).parents[2] / "README.md"
START = "<!-- made by support.readme_table -->"
END = "<!-- end -->"

HEART = "transprune"  # stands first
MARKS = {"reconstructed": "\\*", "trained": "†"}

# kind of a method -> what the row is called
KINDS = {
    "within-LLM": "between layers of the language model",
    "projector-side": "once, in front of the language model",
    "hybrid": "both",
    "cache": "behind the prompt: keys and values, head by head",
}
LARGE = (
    "| in front of the model | [LRS-VQA](docs/tiles.md)\\*: parts of pictures far larger than what it "
    "reads |\n"
)
SUPPORT = {
    "listed": "models, tower and language model",
    "embedded": "models, the language model only",
}


def methods() -> list[Any]:
    """The classes of all methods, the heart of the library first."""
    from transprune.methods.common.recipe import METHODS

    names = sorted(METHODS, key=lambda name: (name != HEART, name))
    return [METHODS.get(name) for name in names]


def link(method: Any) -> str:
    """Its name, with a link to its paper, and how close it is to that."""
    name = re.split(r":| \(", method.title)[0]
    number = re.search(r"arXiv (\S+)", method.paper)
    linked = f"[{name}](https://arxiv.org/abs/{number[1]})" if number else name
    return linked + MARKS.get(method.fidelity, "")


def method_rows() -> str:
    """One row for each place where methods drop, and one for the controls."""
    rows = []
    for kind, where in KINDS.items():
        own = [one for one in methods() if one.kind == kind and one.fidelity != "control"]
        rows.append(f"| {where} | {', '.join(map(link, own))} |\n")

    controls = [one for one in methods() if one.fidelity == "control"]
    names = ", ".join(one.title.partition(":")[0] for one in controls)
    return "".join(rows) + LARGE + f"| controls | {names} |\n"


def model_rows() -> str:
    """One row for each depth of support, with the families of it."""
    from transprune.families.base import FAMILIES

    kinds = [FAMILIES.get(name) for name in FAMILIES]
    rows = []
    for kind, words in SUPPORT.items():
        titles = sorted({one.title for one in kinds if one.kind == kind}, key=str.lower)
        rows.append(f"| {words} | {', '.join(titles)} |\n")
    return "".join(rows)


def write() -> str:
    """The table."""
    head = "| where it drops | methods |\n|---|---|\n"
    return head + method_rows() + model_rows()


def put(page: str) -> str:
    """A page with the table between its marks."""
    before, _, rest = page.partition(START)
    _, _, after = rest.partition(END)
    return f"{before}{START}\n{write()}{END}{after}"


if __name__ == "__main__":
    README.write_text(put(README.read_text(encoding="utf-8")), encoding="utf-8")
