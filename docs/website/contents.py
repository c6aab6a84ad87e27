"""The table of contents: which page stands under which heading of the sidebar."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator

HEADINGS = {
    "Start": ("concepts", "getting_started", "install", "glossary", "faq"),
    "Use": (
        "recipes",
        "batch",
        "pipeline",
        "serve",
        "video",
        "tiles",
        "tune",
        "trained",
        "troubleshooting",
    ),
    "Methods and models": ("methods", "models", "support"),
    "Measure": (
        "benchmark",
        "report",
        "reproduce",
        "accuracy",
        "smol_accuracy",
        "speed",
        "overhead",
    ),
    "Understand": ("how_it_works", "evidence", "bundled_model", "words_first", "smol"),
    "Reference": ("reference/index", "public", "contributing", "changelog"),
}


def with_contents(pages: dict[str, str]) -> dict[str, str]:
    """The pages, with tables of contents in those that have pages below them."""
    names = [page.removesuffix(".md") for page in pages]
    below = {
        "methods": _in_folder(names, "methods"),
        "models": _in_folder(names, "families"),
        "reference/index": _in_folder(names, "reference"),
        "bundled_model": _in_folder(names, "cards"),
    }
    found = dict(pages)
    for page, children in below.items():
        found[f"{page}.md"] += _tree("", children)
    found["index.md"] += "".join(_sidebar(names))
    return found


def _sidebar(names: Collection[str]) -> Iterator[str]:
    """A tree for each heading; a page that nobody listed comes last."""
    listed = {page for pages in HEADINGS.values() for page in pages}
    for heading, pages in HEADINGS.items():
        yield _tree(heading, [page for page in pages if page in names])

    rest = [name for name in names if "/" not in name and name not in listed and name != "index"]
    if rest:
        yield _tree("More", sorted(rest))


def _in_folder(names: Iterable[str], folder: str) -> list[str]:
    """The pages of a folder, by name."""
    return sorted(
        name for name in names if name.startswith(f"{folder}/") and not name.endswith("/index")
    )


def _tree(caption: str, pages: Iterable[str]) -> str:
    """Sphinx's directive; paths count from the top of the site."""
    lines = "\n".join(f"/{page}" for page in pages)
    title = f":caption: {caption}\n" if caption else ""
    return f"\n```{{toctree}}\n:hidden:\n{title}\n{lines}\n```\n"
