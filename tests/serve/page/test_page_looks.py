"""The page in a real browser: on any screen, in both schemes, and for a screen reader."""

from __future__ import annotations

import re

import pytest

from browsers import CHROMIUM, NONE, contrast, luminance

sync_api = pytest.importorskip(
    "playwright.sync_api", reason="playwright's package is not installed"
)
from serve.visits import (  # noqa: E402 (it imports playwright)
    QUESTION,
    ask,
    picture_of,
    pretend,
)

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason=NONE)
expect = sync_api.expect


def test_nothing_scrolls_sideways(asked) -> None:
    page = asked
    for width in (390, 320, 768, 1280):
        page.set_viewport_size({"width": width, "height": 844})
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        outside = page.evaluate(
            "w => [...document.querySelectorAll('body *')].filter(e => "
            "!e.closest('.scroll, .skip') && e.getBoundingClientRect().right > w + 1)"
            ".map(e => e.outerHTML.slice(0, 80))",
            width,
        )
        assert outside == []
        tiny = page.evaluate(
            "[...document.querySelectorAll('p, td, th, li, label, span, button')].filter(e => "
            "e.offsetParent && parseFloat(getComputedStyle(e).fontSize) < 13).length"
        )
        assert tiny == 0


# (outline of the element, its color, the color it stands on) of every text that is seen
TEXTS = """() => {
  const groundOf = e => {
    for (let at = e; at; at = at.parentElement) {
      const color = getComputedStyle(at).backgroundColor;
      if (color !== 'rgba(0, 0, 0, 0)') return color;
    }
  };
  const texts = 'p, h1, h2, label, legend, span, strong, button, td, th, caption, li, a, code, select, '
    + 'textarea, .error';
  const seen = [...document.querySelectorAll(texts)].filter(e => e.offsetParent && e.textContent);
  const colors = seen.map(e => [e.outerHTML.slice(0, 80), getComputedStyle(e).color, groundOf(e)]);
  const fields = [...document.querySelectorAll('textarea, select, .button, .drop')];
  const edges = fields.map(e => [e.outerHTML.slice(0, 80), getComputedStyle(e).borderTopColor,
    groundOf(e)]);
  const bars = [...document.querySelectorAll('.fill')].filter(e => e.offsetParent);
  const fills = bars.map(e => ['bar', groundOf(e), groundOf(e.parentElement)]);
  return [colors, [...edges, ...fills]];
}"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_contrast_in_both_schemes(visit, scheme) -> None:
    page = visit(scheme=scheme)
    pretend(page, "x", picture_of(2, 5, [1, 3, 5, 7]))
    ask(page, QUESTION)
    ground = luminance(page.evaluate("getComputedStyle(document.body).backgroundColor"))
    assert (ground > 0.5) == (scheme == "light")
    texts, shapes = page.evaluate(TEXTS)
    page.get_by_label("Choose a file").set_input_files(__file__)
    expect(page.get_by_role("alert")).not_to_be_empty()
    texts += page.evaluate(TEXTS)[0]

    assert len(texts) > 80 and len(shapes) >= 6
    assert any("error" in outline for outline, _, _ in texts)
    # WCAG 2.2, 1.4.3 and 1.4.11
    for found, least in ((texts, 4.5), (shapes, 3)):
        for outline, ink, under in found:
            assert contrast(luminance(ink), luminance(under)) >= least, outline


@pytest.mark.slow
def test_nothing_moves_where_motion_is_unwanted(visit) -> None:
    page = ask(visit(reduced_motion="reduce"), QUESTION)
    moving = page.evaluate(
        "[...document.querySelectorAll('*')].filter(e => {"
        "const s = getComputedStyle(e); return s.animationName !== 'none'"
        " || parseFloat(s.transitionDuration) > 0; }).length"
    )
    assert moving == 0


def test_roles_and_names_in_the_accessibility_tree(asked) -> None:
    page = asked
    for role in ("banner", "main", "contentinfo", "status", "alert"):
        assert page.get_by_role(role).count() == 1, role
    assert page.get_by_role("form", name="Your question").count() == 1
    assert page.get_by_role("region", name="Answers").count() == 1
    for name in ("Unpruned", "transprune-high"):
        assert page.get_by_role("article", name=name).count() == 1
    assert page.get_by_role("slider").count() == 2
    assert page.get_by_role("combobox", name="Method").count() == 1
    assert page.get_by_role("group", name="Picture").count() == 1
    assert page.get_by_role("button", name="Example 1", pressed=True).count() == 1
    assert page.get_by_role("img", name=re.compile("Visual tokens, of 144")).count() == 1
    assert page.get_by_role("table", name="What it took").count() == 1

    # every control has a name, and no name is used twice for different fields
    unnamed = page.evaluate(
        "[...document.querySelectorAll('button, input, select')].filter(e => e.offsetParent && "
        "!(e.labels?.length || e.textContent.trim() || e.querySelector('img[alt]'))).length"
    )
    assert unnamed == 0
    ids = page.evaluate("[...document.querySelectorAll('[id]')].map(e => e.id)")
    assert len(ids) == len(set(ids))
    levels = page.evaluate(
        "[...document.querySelectorAll('h1, h2, h3')].filter(e => e.offsetParent).map(e => e.tagName)"
    )
    assert levels[0] == "H1" and set(levels[1:]) == {"H2"}


def test_axe_finds_nothing(asked, visit) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="needs axe-core")
    for page in (asked, visit(scheme="dark", width=390)):
        found = axe.Axe().run(page).response
        assert len(found["passes"]) > 20
        assert found["violations"] == []
