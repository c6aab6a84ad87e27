"""The page in a real browser: no requests, no errors, no overflow; dark, phone and print."""

import re

import pytest

from browsers import CHROMIUM, FLAGS, NONE, contrast, luminance
from transprune.report.theme import DARK, LIGHT

sync_api = pytest.importorskip(
    "playwright.sync_api", reason="playwright's package is not installed"
)
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason=NONE)


@pytest.fixture(scope="module")
def browser():
    """The system's own chromium with an empty profile; none is ever downloaded."""
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


def log_request(page, request) -> None:
    if not request.url.startswith("data:"):  # embedded, so nothing is fetched
        page.log.append(request.url)


@pytest.fixture
def visit(browser, report):
    """A function that opens the report and returns the page.

    `page.log` lists its requests over the network, its errors and its console lines.
    """
    contexts = []

    def open_page(width=1280, scheme="light"):
        context = browser.new_context(
            viewport={"width": width, "height": 800}, color_scheme=scheme, offline=True
        )
        contexts.append(context)

        page = context.new_page()
        page.log = []
        page.on("console", lambda message: page.log.append(message.text))
        page.on("pageerror", lambda error: page.log.append(str(error)))
        page.on("request", lambda request: log_request(page, request))
        page.goto(report.page.as_uri())
        return page

    yield open_page
    for context in contexts:
        context.close()


def test_it_renders_and_fetches_nothing(visit, report) -> None:
    page = visit()
    assert page.log == [report.page.as_uri()]
    assert page.title() == "Token pruning on nano: accuracy and cost"
    # accuracy, methods, signal, transitions, positions; three examples of four panels
    assert page.locator(".wide svg:visible").count() == 5
    assert page.locator(".panels svg").count() == 12

    # an image that cannot be decoded has no size of its own
    sizes = page.evaluate(
        "Promise.all([...document.querySelectorAll('.panels image')].map(async e => {"
        "const i = new Image(); i.src = e.getAttribute('href'); await i.decode();"
        "return i.naturalWidth; }))"
    )
    assert set(sizes) == {192}


@pytest.mark.parametrize("width", [360, 390, 768, 1280])
def test_only_tables_and_figures_scroll_sideways(visit, width) -> None:
    page = visit(width)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    outside = page.evaluate(
        "w => [...document.querySelectorAll('body *')].filter(e => !e.closest('.scroll, .skip') "
        "&& e.getBoundingClientRect().right > w + 1).map(e => e.outerHTML.slice(0, 80))",
        width,
    )
    assert outside == []


def test_a_desktop_is_filled(visit) -> None:
    page = visit(1280)
    rights = page.evaluate(
        "[...document.querySelectorAll('.wide svg, section table, article')]"
        ".map(e => e.getBoundingClientRect().right)"
    )
    assert len(rights) > 8
    # the margin of the page is 16 pixels
    assert all(right >= 1240 for right in rights)


def test_text_is_readable_at_phone_width(visit) -> None:
    page = visit(390)
    small = page.evaluate(
        "[...document.querySelectorAll('p, td, th, li, dd, figcaption, caption')]"
        ".filter(e => parseFloat(getComputedStyle(e).fontSize) < 13).length"
    )
    assert small == 0

    # a figure for the phone fits into it, and its text is not made smaller
    assert page.locator(".wide svg:visible").count() == 0
    heights = page.evaluate(
        "[...document.querySelectorAll('.narrow svg text')].map(t => {"
        "const m = t.getScreenCTM();"  # of a text that stands upright, `a` is 0
        "return parseFloat(getComputedStyle(t).fontSize) * Math.hypot(m.a, m.b); })"
    )
    assert len(heights) > 100
    assert min(heights) > 10


# pairs of texts of one drawing whose boxes share more than a pixel in both directions
TOUCHING = """() => {
  const found = [];
  for (const svg of document.querySelectorAll('figure svg')) {
    const texts = [...svg.querySelectorAll('text')].filter(t => t.textContent.trim());
    const boxes = texts.map(t => t.getBoundingClientRect());
    for (let i = 0; i < boxes.length; i++) for (let j = 0; j < i; j++) {
      const a = boxes[i], b = boxes[j];
      const x = Math.min(a.right, b.right) - Math.max(a.left, b.left);
      const y = Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top);
      if (a.width && x > 1 && y > 1) found.push(`${texts[i].textContent} | ${texts[j].textContent}`);
    }
  }
  return found;
}"""


@pytest.mark.parametrize("width", [390, 1280])
def test_no_labels_touch(visit, width) -> None:
    assert visit(width).evaluate(TOUCHING) == []


@pytest.mark.parametrize("width", [390, 1280])
def test_every_label_is_on_the_screen(visit, width) -> None:
    outside = visit(width).evaluate(
        "w => [...document.querySelectorAll('figure svg text')].filter(t => {"
        "const box = t.getBoundingClientRect(); const own = t.closest('svg').getBoundingClientRect();"
        "return box.width && (box.left < own.left - 1 || box.right > own.right + 1 ||"
        "box.top < own.top - 1 || box.bottom > own.bottom + 1 || box.right > w); })"
        ".map(t => t.textContent)",
        width,
    )
    assert outside == []


def test_the_main_figure_names_every_method_on_a_phone(visit) -> None:
    page = visit(390)
    figure = page.locator("section[aria-labelledby=accuracy] .narrow svg").first
    names = figure.locator("text").all_text_contents()
    assert {"transprune", "fastv", "transprune-iga", "pdrop", "random", "oracle"} <= set(names)


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_contrast_in_both_schemes(visit, scheme) -> None:
    page = visit(scheme=scheme)
    ground = luminance(page.evaluate("getComputedStyle(document.body).backgroundColor"))
    assert (ground > 0.5) == (scheme == "light")

    for selector in ("p", "a", "figcaption", "caption", "td", "footer"):
        text = luminance(
            page.eval_on_selector(f"{selector} >> nth=0", "e => getComputedStyle(e).color")
        )
        assert contrast(text, ground) >= 4.5, selector  # WCAG 2.2, 1.4.3

    best = page.eval_on_selector(
        ".best", "e => [getComputedStyle(e).color, getComputedStyle(e).backgroundColor]"
    )
    ink, mark = map(luminance, best)
    assert contrast(ink, mark) >= 4.5


@pytest.mark.parametrize(("scheme", "theme"), [("light", LIGHT), ("dark", DARK)])
def test_figures_follow_the_scheme(visit, scheme, theme) -> None:
    page = visit(scheme=scheme)
    fill = "e => getComputedStyle(e).fill"
    # the first path of a drawing is its background
    ground = page.eval_on_selector(".wide svg path >> nth=0", fill)
    assert ground == rgb(theme.background)
    assert page.eval_on_selector(".wide svg text >> nth=0", fill) in (
        rgb(theme.text),
        rgb(theme.muted),
    )

    # every other colour of a drawing is of this theme as well
    strokes = page.evaluate(
        "[...document.querySelectorAll('.wide svg path')].map(e => getComputedStyle(e).stroke)"
    )
    known = {rgb(color) for color in theme.variables().values()}
    assert set(strokes) <= {*known, "none"}


def rgb(color: str) -> str:
    """`#rrggbb` as browsers write it."""
    red, green, blue = bytes.fromhex(color.removeprefix("#"))
    return f"rgb({red}, {green}, {blue})"


def test_landmarks_and_names_in_the_accessibility_tree(visit) -> None:
    page = visit()
    for role in ("banner", "main", "navigation", "contentinfo"):
        assert page.get_by_role(role).count() == 1, role

    for name in (
        "Accuracy against cost",
        "Which differences are significant",
        "Task by task",
        "Measured costs",
    ):
        assert page.get_by_role("region", name=name, exact=True).count() == 1
        assert page.get_by_role("heading", name=name, level=2).count() == 1

    assert page.get_by_role("table").count() == page.locator("table").count() >= 4
    assert page.get_by_role("rowheader", name="transprune", exact=True).count() >= 2
    # one of the two drawings of each figure
    assert page.get_by_role("img", name=re.compile("Line chart of 6 methods")).count() == 1
    assert page.get_by_role("article").count() == 3


def test_the_first_tab_stop_skips_to_the_results(visit) -> None:
    page = visit()
    page.keyboard.press("Tab")
    link = page.locator(":focus")
    assert link.inner_text() == "Skip to the results"
    assert link.bounding_box()["x"] >= 0  # off the screen without focus

    page.keyboard.press("Enter")
    assert page.evaluate("location.hash") == "#main"


def test_it_prints_light_without_navigation(visit, tmp_path) -> None:
    page = visit(scheme="dark")
    file = tmp_path / "report.pdf"
    page.pdf(path=file, format="A4")
    assert file.read_bytes().startswith(b"%PDF")
    assert file.stat().st_size > 50_000

    page.emulate_media(media="print")
    assert luminance(page.evaluate("getComputedStyle(document.body).color")) < 0.1
    assert not page.locator("nav").is_visible()
    assert page.locator("details li").first.is_visible()  # folded on screen, open on paper
