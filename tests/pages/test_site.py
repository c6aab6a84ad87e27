"""The pages of the site: every method, family and public name has one, and every link leads somewhere.

That Sphinx takes them without a warning, and how they look, is in `test_built_site.py`.
"""

from __future__ import annotations

import posixpath
import re

import pytest
from docs.website.docstrings import prose, to_rst
from docs.website.handwritten import FENCE, LINK, ROOT, LinkError, translate, turn_links
from docs.website.measured import SOURCES, rows_of
from docs.website.methods import example, own_methods
from docs.website.picture import counts, draw
from docs.website.reference import public_names
from docs.website.sources import all_sources, write_sources
from docs.website.support import own_families, read_support
from docs.website.tables import read_tables, section

from transprune.cost import count_method, known_geometry
from transprune.methods.common.recipe import METHODS, parse

# other sites that pages may link to; their pages are asked for by `python -m docs.website linkcheck`
KNOWN = re.compile(
    r"https://(arxiv\.org/abs/\d{4}\.\d{5}|optuna\.org|github\.com/[\w-]+/[\w.-]+"
    r"|huggingface\.co/[\w./-]+|keepachangelog\.com\S*|semver\.org\S*)"
)


@pytest.fixture(scope="module")
def sources():
    return all_sources()


@pytest.fixture(scope="module")
def pages(sources):
    return {path: text for path, text in sources.items() if isinstance(text, str)}


def links(text: str) -> list[str]:
    """Addresses of links and pictures outside of code."""
    parts = FENCE.split(text)[::2]
    return [address for part in parts for _, address, _ in LINK.findall(part)]


def test_everything_has_a_page(pages):
    for method in own_methods():
        assert f"methods/{method}.md" in pages
    for family in own_families():
        assert f"families/{family}.md" in pages
    for name in public_names():
        assert name.file in pages
    assert len({name.file.lower() for name in public_names()}) == len(public_names())


def test_every_page_is_in_the_contents_once(pages):
    trees = re.findall(r"```\{toctree\}\n(.*?)```", "".join(pages.values()), re.DOTALL)
    listed = re.findall(r"^/(\S+)$", "".join(trees), re.MULTILINE)
    assert sorted(f"{page}.md" for page in listed) == sorted(set(pages) - {"index.md"})


def test_links_lead_to_pages_and_files(sources, pages):
    checked = 0
    for path, text in pages.items():
        for address in links(text):
            if address.startswith(("http", "#")):
                continue
            target = posixpath.normpath(posixpath.join(posixpath.dirname(path), address))
            assert target.partition("#")[0] in sources, f"{path}: {address}"
            checked += 1
    assert checked > 1000


def test_links_to_other_sites_are_of_known_kinds(pages):
    found = {address for text in pages.values() for address in links(text) if "://" in address}
    assert len(found) > 30
    assert not [address for address in found if not KNOWN.fullmatch(address.rstrip("/"))]


def test_links_of_the_readme_lead_to_files():
    _, linked = translate(ROOT / "README.md")
    assert len(linked) > 10


def test_a_link_to_nothing_is_an_error():
    with pytest.raises(LinkError, match=r"docs/page.md links to gone.md, which does not exist"):
        turn_links(ROOT / "docs" / "page.md", "[a link](gone.md)")


def test_a_second_writing_has_nothing_to_do(tmp_path):
    assert write_sources(tmp_path) > 100
    (tmp_path / "old.md").write_text("a page of yesterday")
    assert write_sources(tmp_path) == 0
    assert not (tmp_path / "old.md").exists()


def test_the_picture_is_what_the_method_plans():
    """To draw it anew: python -m docs.website.picture > docs/concepts.svg."""
    drawn = (ROOT / "docs" / "concepts.svg").read_text(encoding="utf-8")
    assert drawn == draw()
    assert list(dict.fromkeys(counts())) == [576, 504, 360, 72]


def test_the_shares_in_concepts_are_counted():
    text = " ".join((ROOT / "docs" / "concepts.md").read_text(encoding="utf-8").split())
    geometry, method = known_geometry("llava-1.5-7b"), parse("transprune-high")
    paper = count_method(geometry, method)
    exact = count_method(geometry, method, convention="exact")
    shares = (paper.prefill_share, exact.prefill_share, exact.kv_share, exact.decode_share)
    work, real, cache, step = (f"{share:.0%}".replace("%", " %") for share in shares)
    assert f"leaves {work} of the prefill by *paper*, {real} by *exact*, {cache} of the" in text
    assert f"and {step} of the next step" in text


# ------------------------------------------------------------------------- what pages say


def test_a_method_page_says_what_its_class_says(pages):
    page = pages["methods/topv.md"]
    assert page.startswith("# TopV\n")
    assert "https://arxiv.org/abs/2503.18278" in page
    assert "**Reconstructed**" in page
    assert "| `keep_ratio` | `0.5` |" in page
    assert "--method topv" in page


def test_a_refusal_is_said_on_both_pages(pages):
    assert read_support().methods["gemma3"]["plphp"] not in ("✓", "·")
    for page in ("methods/plphp.md", "families/gemma3.md"):
        assert "lets every head keep other keys" in pages[page], page


@pytest.mark.parametrize("name", own_methods())
def test_the_line_of_a_method_page_prunes_the_bundled_model(name):
    method = parse(example(name))
    if name in ("shortv", "plphp"):  # these drop no token
        return
    stages = method.plan(16, 144)
    assert stages[-1].count < 144


@pytest.mark.slow
@pytest.mark.parametrize("name", own_methods())
def test_the_line_of_a_method_page_runs(name, pages, cli, reader):
    line = re.search(
        r"^transprune (run .*? --method \S+)$", _joined(pages[f"methods/{name}.md"]), re.M
    )
    result = cli(*re.findall(r'(?<=")[^"]*(?=")|[^\s"]+', line.group(1)))
    assert result.code == 0, result.err


def _joined(text: str) -> str:
    return re.sub(r"\\\n\s*", "", text)


def test_measured_rows_are_those_of_the_page():
    for source in SOURCES:
        page = (ROOT / "docs" / source.page).read_text(encoding="utf-8")
        text = section(page, source.heading) if source.heading else page
        table = next(read_tables(text))
        named = [
            row
            for method in METHODS
            for found, rows in rows_of(method)
            if found == source
            for row in rows[1:]
        ]
        assert len(named) > 3
        for row in named:
            assert row in table


# ----------------------------------------------------------------------------- docstrings


def test_code_and_special_characters_survive():
    assert to_rst(["`a_b` of N * k, |x| and a_."]) == [r"``a_b`` of N \* k, \|x\| and a\_."]


def test_an_example_becomes_a_block():
    lines = [
        "A session.",
        "",
        "    with prune(model):",
        "        pass",
        "",
        "Args:",
        "    model: it.",
    ]
    assert to_rst(lines) == [
        "A session.",
        "",
        ".. code-block:: python",
        "",
        "    with prune(model):",
        "        pass",
        "",
        "Args:",
        "    model: it.",
    ]


def test_prose_ends_where_the_sections_begin():
    text = "Keep some.\n\nLi et al. https://arxiv.org/abs/2507.20630\n\nArgs:\n    keep: many."
    assert prose(text) == "Keep some.\n\nLi et al. <https://arxiv.org/abs/2507.20630>"
