"""The site as Sphinx builds it, looked at in a real browser.

Minutes, so in `make test-all` only, and where `make docs` has installed Sphinx.
"""

from __future__ import annotations

import shutil
import subprocess
import sys

import pytest

from pages.blocks import ROOT

pytest.importorskip("sphinx", reason="Sphinx is not installed; `make docs` does it")
sync_api = pytest.importorskip(
    "playwright.sync_api", reason="playwright's package is not installed"
)
CHROMIUM = (
    shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
)
pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(900),
    pytest.mark.skipif(CHROMIUM is None, reason="no chromium here; apt-get install chromium"),
]
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
]

LOOKED_AT = (
    "index.html",
    "concepts.html",
    "faq.html",
    "methods.html",
    "support.html",
    "methods/transprune.html",
    "families/gemma3.html",
    "reference/prune.html",
    "reference/module-errors.html",
    "speed.html",
)


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The folder of the site, built as `make docs` does; a warning of Sphinx fails here."""
    out = tmp_path_factory.mktemp("out")
    command = [sys.executable, "-m", "docs.website", "html", str(out)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return out / "docs"


@pytest.fixture(scope="module")
def browser():
    """The system's own chromium with an empty profile; none is ever downloaded."""
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def visit(browser, site):
    """Open a page of the site without a network; `page.log` has its errors."""
    contexts = []

    def open_page(path, width=1280, scheme="light"):
        context = browser.new_context(
            viewport={"width": width, "height": 800}, color_scheme=scheme, offline=True
        )
        contexts.append(context)
        page = context.new_page()
        page.log = []
        page.on("pageerror", lambda error: page.log.append(str(error)))
        page.on("requestfailed", lambda request: page.log.append(request.url))
        page.goto((site / path).as_uri())
        return page

    yield open_page
    for context in contexts:
        context.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_nothing_scrolls_sideways_and_pictures_load(visit, width, scheme):
    for path in LOOKED_AT:
        page = visit(path, width, scheme)
        wide, inner = page.evaluate(
            "[document.documentElement.scrollWidth, document.documentElement.clientWidth]"
        )
        assert wide <= inner, path
        broken = page.evaluate(
            "[...document.images].filter(i => !i.complete || !i.naturalWidth).map(i => i.src)"
        )
        assert broken == []
        assert page.log == [], path


def test_dark_is_dark(visit):
    colours = []
    for scheme in ("light", "dark"):
        page = visit("index.html", scheme=scheme)
        colours.append(page.evaluate("getComputedStyle(document.body).backgroundColor"))
    assert colours[0] != colours[1]


def test_search_finds_a_method_and_a_public_name(visit):
    for word, page_name in (
        ("PLPHP", "methods/plphp"),
        ("find_tiles", "reference/tiles.find_tiles"),
    ):
        page = visit("search.html")
        page.fill("input[name=q] >> visible=true", word)
        page.keyboard.press("Enter")
        page.wait_for_selector("#search-results li a", timeout=20_000)
        page.wait_for_timeout(1500)  # results come one after the other
        found = page.eval_on_selector_all("#search-results li a", "links => links.map(l => l.href)")
        assert any(page_name in address for address in found), (word, found)
