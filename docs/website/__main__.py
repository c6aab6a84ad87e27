"""`python -m docs.website`: build the site. `make docs` does it, with what it needs installed."""

from __future__ import annotations

import sys
from pathlib import Path

from .handwritten import ROOT
from .sources import write_sources

OUT = ROOT / "out"
BUILDERS = ("html", "linkcheck")


def build(builder: str = "html", out: Path = OUT) -> int:
    """Collect the pages and run Sphinx; every warning is an error.

    Args:
        builder: `"html"`, which checks the links within the site, or `"linkcheck"`, which asks every
            address of another site and needs a network.
        out: folder of what is built: the site in `docs`, and what a second build goes on from.

    Returns:
        Sphinx's exit status, 0 if nothing was wrong.
    """
    from sphinx.cmd.build import main as sphinx

    source = out / "docs-source"
    written = write_sources(source)
    target = out / ("docs" if builder == "html" else builder)
    print(f"{written} pages and files are new or changed", flush=True)

    options = ["-b", builder, "-W", "--keep-going", "-q", "-c", str(Path(__file__).parent)]
    if written:
        # the sidebar is part of every page, and Sphinx writes only those whose own text changed
        options.append("-a")
    status = sphinx([*options, "-d", str(out / "docs-trees"), str(source), str(target)])
    if status == 0 and builder == "html":
        print(target / "index.html")
    return int(status)


def main(builder: str = "html", out: str = "") -> int:
    """Build what the command line asks for.

    Returns:
        The exit status: 2 for a builder that is none.
    """
    if builder not in BUILDERS:
        print(f"python -m docs.website [{' | '.join(BUILDERS)}] [FOLDER]", file=sys.stderr)
        return 2
    return build(builder, Path(out) if out else OUT)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:3]))
