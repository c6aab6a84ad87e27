"""The page in a real browser: no requests, no errors, no overflow; dark, phone and print."""

import re
import shutil

import pytest

sync_api = pytest.importorskip(
    "playwright.sync_api", reason="playwright's package is not installed"
)
CHROMIUM = (
    shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
)
pytestmark = pytest.mark.skipif(
    CHROMIUM is None, reason="no chromium on this machine; apt-get install chromium"
)
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


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

    def open_page(width=1200, scheme="light"):
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
    widths = page.eval_on_selector_all(
        "img", "images => images.map(i => i.complete ? i.naturalWidth : 0)"
    )
    assert len(widths) == 8
    assert min(widths) > 300


@pytest.mark.parametrize("width", [360, 768, 1200])
def test_only_tables_and_figures_scroll_sideways(visit, width) -> None:
    page = visit(width)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    outside = page.evaluate(
        "w => [...document.querySelectorAll('body *')].filter(e => !e.closest('.scroll, .skip') "
        "&& e.getBoundingClientRect().right > w + 1).map(e => e.outerHTML.slice(0, 80))",
        width,
    )
    assert outside == []


def test_text_is_readable_at_phone_width(visit) -> None:
    page = visit(360)
    small = page.evaluate(
        "[...document.querySelectorAll('p, td, th, li, dd, figcaption, caption')]"
        ".filter(e => parseFloat(getComputedStyle(e).fontSize) < 13).length"
    )
    assert small == 0

    width = page.evaluate("document.querySelector('figure img').getBoundingClientRect().width")
    assert width >= 500  # wider than the phone: the figure scrolls


def luminance(color: str) -> float:
    """Relative luminance of `rgb(r, g, b)`, WCAG 2.2."""
    total = 0.0
    for channel, weight in zip(re.findall(r"\d+", color), (0.2126, 0.7152, 0.0722), strict=False):
        value = int(channel) / 255
        # the inverse of the sRGB transfer curve
        linear = value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4
        total += weight * linear
    return total


def contrast(one: float, other: float) -> float:
    """Contrast ratio of two luminances, WCAG 2.2."""
    return (max(one, other) + 0.05) / (min(one, other) + 0.05)


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


def test_figures_follow_the_scheme(visit) -> None:
    corner = """() => { const canvas = document.createElement('canvas').getContext('2d');
        canvas.drawImage(document.querySelector('figure img'), 0, 0);
        return [...canvas.getImageData(2, 2, 1, 1).data].slice(0, 3); }"""
    assert sum(visit().evaluate(corner)) > 700
    assert sum(visit(scheme="dark").evaluate(corner)) < 120


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
    assert file.stat().st_size > 100_000

    page.emulate_media(media="print")
    assert luminance(page.evaluate("getComputedStyle(document.body).color")) < 0.1
    assert not page.locator("nav").is_visible()
    assert page.locator("details li").first.is_visible()  # folded on screen, open on paper
