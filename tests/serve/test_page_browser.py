"""The page in a real browser: it answers, by mouse and by keyboard, on any screen; errors are readable."""

from __future__ import annotations

import io
import json
import re

import pytest
from PIL import Image

from browsers import CHROMIUM, NONE, contrast, luminance
from serve.conftest import PICTURES, body, small
from transprune.serve.limits import Limits

sync_api = pytest.importorskip(
    "playwright.sync_api", reason="playwright's package is not installed"
)
from serve.visits import (  # noqa: E402 (it imports playwright)
    QUESTION,
    answers,
    ask,
    cells,
    dark_cells,
    launch,
    move,
    open_page,
    picture_of,
    pretend,
    texts,
)

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason=NONE)
expect = sync_api.expect


@pytest.fixture(scope="module")
def browser():
    """The system's own chromium with an empty profile."""
    with sync_api.sync_playwright() as playwright:
        browser = launch(playwright)
        yield browser
        browser.close()


@pytest.fixture
def visit(browser, live):
    """`open_page` of a server, that of all tests by default."""
    pages = []

    def visit(server=live, **options):
        pages.append(open_page(browser, server, **options))
        return pages[-1]

    yield visit
    for page in pages:
        page.context.close()


@pytest.fixture(scope="module")
def asked(browser, live):
    """A page that was asked `QUESTION`; tests may move its stage and nothing else."""
    page = ask(open_page(browser, live), QUESTION)
    yield page
    page.context.close()


# ---------------------------------------------------------------- it answers


def test_both_answers_are_those_of_the_interface(asked, live) -> None:
    page = asked
    unpruned, _ = texts(live, pruning="unpruned")
    pruned, bill = texts(live)
    assert answers(page) == (unpruned, pruned)
    right = "The right one is “circle”."
    expect(page.locator("#verdict")).to_have_text(f"Both answers are the same. {right}")

    after = bill["visual_tokens_after"]
    assert cells(page, "visual tokens, last layer")[:2] == ["144", str(after)]
    share = f"{100 * bill['prefill_flops_share']:.0f} %"
    assert cells(page, "prefill work") == ["100 %", share, share]
    for name in ("time to the first token", "time to the whole answer"):
        assert all(re.fullmatch(r"[\d.]+ (ms|s)", cell) for cell in cells(page, name)[:2])

    assert page.log == []
    assert page.hosts <= {live.address.removeprefix("http://"), ""}  # "" of a blob


def test_the_stages_are_a_slider_over_the_picture(asked, live) -> None:
    page = asked
    told = live.post(body(QUESTION, PICTURES[0], pruning_trace=True)).json()["pruning_trace"]
    kept = told["pictures"][0]["kept"]
    slider = page.get_by_label("Stage", exact=True)
    assert int(slider.get_attribute("max")) == len(kept) == int(slider.input_value())

    for stage in range(len(kept), -1, -1):
        stayed = kept[stage - 1] if stage else range(144)
        assert dark_cells(page) == sorted(set(range(144)) - set(stayed))
        words = slider.get_attribute("aria-valuetext")
        assert f"{len(stayed)} of 144 tokens" in words or stage == 0
        assert page.locator("#kept").get_attribute("aria-label") == f"The picture, {words}"
        # the layers that run with these tokens are marked
        first = told["stages"][stage - 1]["boundary"] if stage else 0
        marked = page.locator("#layers .bar.now").first
        assert marked.get_attribute("title").startswith(f"layer {first}:")
        slider.press("ArrowLeft")

    heights = page.locator("#layers .fill").evaluate_all("all => all.map(e => e.style.height)")
    shown = [round(float(height.rstrip("%")) * 1.44) for height in heights]
    assert shown == told["tokens_per_layer"]


def test_the_picture_under_the_slider_is_dark_where_tokens_are_dropped(asked) -> None:
    place = asked.locator("#kept")
    move(asked, "Stage", 0)
    whole = _brightness(place.screenshot())
    move(asked, "Stage", 3)
    assert _brightness(place.screenshot()) < 0.8 * whole


def _brightness(png):
    with Image.open(io.BytesIO(png)) as image:
        grey = image.convert("L").resize((1, 1), Image.Resampling.BOX)
        return grey.getpixel((0, 0))


@pytest.mark.slow
def test_a_moved_budget_is_asked_for_and_can_be_given_back(visit, live) -> None:
    page = visit()
    expect(page.locator("#budget-shown")).to_contain_text("of the work, as offered")
    page.get_by_label("Method").select_option("divprune:keep_ratio=0.25")
    move(page, "Budget", 60)
    assert page.get_by_label("Budget").get_attribute("aria-valuetext") == "60\u00a0% of the work"
    ask(page, QUESTION)
    expect(page.locator("#pruned-title")).to_have_text("divprune:keep_ratio=0.25 at 60 %")
    assert abs(int(cells(page, "prefill work")[-1].split()[0]) - 60) <= 1
    text, _ = texts(live, pruning="divprune:keep_ratio=0.25", pruning_budget=0.6)
    assert answers(page)[1] == text

    page.get_by_role("button", name="Back to the method as offered").click()
    expect(page.locator("#budget-shown")).to_contain_text("of the work, as offered")
    assert page.evaluate("document.activeElement.id") == "budget"
    assert page.log == []


@pytest.mark.slow
def test_a_file_of_one_s_own_is_asked_about(visit, tmp_path) -> None:
    name = "<img src=x onerror=alert(1)>.png"
    file = tmp_path / name
    with Image.open(PICTURES[1]) as image:
        image.save(file)
    page = visit()
    page.get_by_label("Choose a file").set_input_files(file)
    expect(page.locator("#picture-name")).to_have_text(f"{name}, 96 \u00d7 96 pixels")
    expect(page.get_by_role("list", name="Example questions").get_by_role("button")).to_have_count(
        0
    )
    ask(page, QUESTION)
    assert answers(page) == ("star", "star")
    expect(page.locator("#verdict")).to_have_text("Both answers are the same.")
    # the name is a text, and no element was made of it
    assert page.locator("img[src=x]").count() == 0
    assert page.log == []


@pytest.mark.slow
def test_a_dropped_file_is_asked_about(visit) -> None:
    page = visit()
    page.evaluate(
        "async () => { const blob = await (await fetch('page/scene2.png')).blob();"
        "const data = new DataTransfer();"
        "data.items.add(new File([blob], 'dropped.png', { type: 'image/png' }));"
        "document.getElementById('drop').dispatchEvent("
        "new DragEvent('drop', { dataTransfer: data, bubbles: true, cancelable: true })); }"
    )
    expect(page.locator("#picture-name")).to_contain_text("dropped.png")
    ask(page, QUESTION)
    assert answers(page)[0] == "star"


def test_the_keyboard_is_enough(visit) -> None:
    page = visit()
    pretend(page, "star", picture_of(2, 5, [1, 3, 5, 7]))
    page.keyboard.press("Tab")
    assert page.locator(":focus").inner_text() == "Skip to the answers"
    reached = []
    for _ in range(30):
        page.keyboard.press("Tab")
        focus = page.locator(":focus")
        reached.append(focus.get_attribute("id") or focus.inner_text() or "picture")
        # what has the focus shows it; the file's own field is unseen, and its label does
        mark = focus if reached[-1] != "file" else page.locator("label[for=file]")
        assert mark.evaluate("e => getComputedStyle(e).outlineStyle") != "none", reached
        if reached[-1] == "go":
            break
    assert [name for name in reached if name in ("file", "question", "method", "budget", "go")] == [
        "file",
        "question",
        "method",
        "budget",
        "go",
    ]
    assert reached.count("picture") == 6

    # a picture by the space bar, a budget by arrows, and Enter asks from the question
    page.get_by_role("button", name="Example 2").focus()
    page.keyboard.press("Space")
    expect(page.locator("#picture-name")).to_contain_text("Example 2")
    page.get_by_label("Budget").focus()
    before = int(page.get_by_label("Budget").input_value())
    page.keyboard.press("ArrowRight")
    assert page.locator("#budget-shown").inner_text() == f"{before + 1}\u00a0% of the work"
    page.get_by_label("Question", exact=True).fill(QUESTION)
    page.keyboard.press("Enter")
    expect(page.get_by_role("status")).to_contain_text("Done. Unpruned: star.")


# ---------------------------------------------------------------- errors


def test_what_is_no_picture_is_said(visit, tmp_path) -> None:
    page = visit()
    alert = page.get_by_role("alert")
    for name, content, words in (
        ("notes.txt", b"words", "notes.txt is no PNG, JPEG, WebP or GIF file."),
        ("broken.png", b"\x89PNG\r\n\x1a\nbroken", "broken.png cannot be read as a picture"),
    ):
        file = tmp_path / name
        file.write_bytes(content)
        page.get_by_label("Choose a file").set_input_files(file)
        expect(alert).to_contain_text(words)
    # the last picture is still there, and the error goes once it is asked about
    pretend(page, "x", picture_of(2, 5, [1, 3, 5, 7]))
    ask(page, QUESTION)
    expect(alert).to_be_empty()


def test_a_picture_that_is_too_large_is_said(visit, serve, tmp_path) -> None:
    page = visit(serve(Limits(pixels=40_000, body_bytes=60_000)))
    file = tmp_path / "large.png"
    small(size=(300, 200)).save(file)
    page.get_by_label("Choose a file").set_input_files(file)
    expect(page.get_by_role("alert")).to_contain_text(
        "300 \u00d7 200 pixels; this server takes 40,000"
    )
    Image.effect_noise((190, 190), 90).convert("RGB").save(file)
    page.get_by_label("Choose a file").set_input_files(file)
    expect(page.get_by_role("alert")).to_contain_text("MiB; this server takes")


def test_a_refusal_of_the_server_is_shown_in_its_words(visit) -> None:
    page = visit()
    page.get_by_label("Question", exact=True).fill("word " * 3000)
    page.get_by_role("button", name="Ask both").click()
    expect(page.get_by_role("alert")).to_contain_text("this server takes 8,192 tokens of prompt")
    expect(page.get_by_role("button", name="Ask both")).to_be_visible()
    assert answers(page) == ("no answer", "no answer")


def test_a_server_with_tokens_gets_one(visit, serve) -> None:
    page = visit(serve(tokens=("secret",)), ready=False)
    token = page.get_by_label("Token", exact=True)
    expect(token).to_be_focused()
    expect(page.get_by_role("button", name="Ask both")).to_be_hidden()
    token.fill("wrong")
    page.keyboard.press("Enter")
    expect(page.get_by_role("alert")).to_contain_text("does not know this token")
    token.fill("secret")
    page.keyboard.press("Enter")
    ask(page, QUESTION)
    expect(token).to_be_hidden()

    # it stays with the tab, and nowhere else
    page.reload()
    expect(page.get_by_role("button", name="Ask both")).to_be_visible()
    assert page.evaluate("[localStorage.length, document.cookie, sessionStorage.length]") == [
        0,
        "",
        1,
    ]

    # one that is no longer known is asked for once more, and nothing is set up twice
    page.evaluate("sessionStorage.setItem('transprune-token', 'old')")
    page.get_by_role("button", name="Ask both").click()
    token.fill("secret")
    page.keyboard.press("Enter")
    expect(token).to_be_hidden()
    ask(page, QUESTION)
    assert page.get_by_role("list", name="Example pictures").get_by_role("button").count() == 6


def test_a_busy_server_is_asked_again(visit) -> None:
    page = visit()
    pretend(page, "x", picture_of(2, 5, [1, 3, 5, 7]))
    busy = []

    def refuse_once(route):
        if busy:
            return route.fallback()
        busy.append(1)
        error = {"message": "3 requests are waiting already", "type": "", "param": None, "code": ""}
        return route.fulfill(
            status=429, headers={"Retry-After": "1"}, body=json.dumps({"error": error})
        )

    page.route("**/v1/chat/completions", refuse_once)
    page.get_by_label("Question", exact=True).fill(QUESTION)
    page.get_by_role("button", name="Ask both").click()
    expect(page.get_by_role("status")).to_contain_text("busy; the next try is in 1 s")
    expect(page.get_by_role("status")).to_contain_text("Done.")


def test_a_server_that_is_gone_is_said(visit) -> None:
    page = visit()
    page.route("**/v1/chat/completions", lambda route: route.abort())
    page.get_by_role("button", name="Ask both").click()
    expect(page.get_by_role("alert")).to_have_text(
        "The server cannot be reached. Is it still running?"
    )


def test_an_answer_that_breaks_off_is_said(visit) -> None:
    page = visit()
    part = {"choices": [{"delta": {"content": "half"}}], "usage": None}
    cut = f"data: {json.dumps(part)}\n\n"
    page.route("**/v1/chat/completions", lambda route: route.fulfill(status=200, body=cut))
    page.get_by_role("button", name="Ask both").click()
    expect(page.get_by_role("alert")).to_contain_text("broke before the answer was whole")


def test_it_can_be_stopped(visit) -> None:
    page = visit()
    page.route("**/v1/chat/completions", lambda route: None)  # never answered
    page.get_by_role("button", name="Ask both").click()
    page.get_by_role("button", name="Stop").click()
    expect(page.get_by_role("status")).to_have_text("Stopped.")
    expect(page.get_by_role("alert")).to_be_empty()


def test_what_a_model_says_is_text(visit) -> None:
    page = visit()
    words = "<b id=made>bold</b><script>document.title='hacked'</script>"
    kept = picture_of(2, 5, [1, 3, 5, 7])
    pretend(page, words, kept | {"notes": [words], "stages": [{"boundary": 0, "method": words}]})
    ask(page, QUESTION)
    assert answers(page) == (words, words)
    expect(page.locator("#notes")).to_have_text(words)
    assert page.locator("#made").count() == 0
    assert page.title() == "transprune: unpruned and pruned, side by side"
    expect(page.locator("#stage-shown")).to_contain_text("in front of the language model: 4 of 10")


def test_quick_answers_are_timed_three_times_and_slow_ones_once(visit) -> None:
    page = visit()
    # unpruned and pruned by turns
    times = (0.09, 0.02, 0.05, 0.04, 0.01, 0.03)
    requests = pretend(page, "x", picture_of(2, 5, [1, 3, 5, 7]), times)
    ask(page, QUESTION)
    assert [request["pruning"] for request in requests] == ["unpruned", "transprune-high"] * 3
    assert all(request["pruning_trace"] and request["reuse"] is False for request in requests)
    assert cells(page, "time to the first token") == ["50 ms", "30 ms", "60 %"]
    assert cells(page, "time to the whole answer") == ["60 ms", "40 ms", "67 %"]
    assert cells(page, "K/V cache") == ["100 %", "70 %", "70 %"]
    expect(page.locator("#figures-note")).to_contain_text("medians of 3 runs each")

    page.unroute("**/v1/chat/completions")
    requests = pretend(page, "x", picture_of(2, 5, [1, 3, 5, 7]), (1.5, 0.75))
    page.get_by_role("button", name="Ask both").click()
    expect(page.locator("#figures-note")).to_contain_text("one run each")
    expect(page.get_by_role("status")).to_contain_text("Done.")
    assert len(requests) == 2
    assert cells(page, "time to the first token") == ["1.50 s", "750 ms", "50 %"]


def test_tokens_without_a_place_are_cells_in_the_order_of_the_prompt(visit) -> None:
    page = visit()
    pretend(page, "x", picture_of(None, None, [0, 9]))
    ask(page, QUESTION)
    place = page.locator("#kept")
    assert place.locator("img").count() == 0
    # ten tokens in rows of four
    assert len(re.findall("M", place.locator(".dropped").get_attribute("d"))) == 8
    assert place.locator(".stayed").get_attribute("d").startswith("M0 0h")
    assert "M1 2h" in place.locator(".stayed").get_attribute("d")
    expect(page.locator("#kept-note")).to_contain_text("not known where")

    # a grid of eight, and two tokens of tiles behind it
    page.unroute("**/v1/chat/completions")
    pretend(page, "x", picture_of(2, 4, [0, 9]))
    page.get_by_role("button", name="Ask both").click()
    expect(page.locator("#kept-note")).to_contain_text("2 further tokens, of tiles, have no place")
    assert len(re.findall("M", place.locator(".dropped").get_attribute("d"))) == 7
    assert place.locator("img").count() == 1


def test_keys_that_are_evicted_are_a_line_in_the_bars(visit) -> None:
    page = visit()
    kept = {"tokens_per_layer": [10, 10], "cached_per_layer": [10, 4], "stages": [], "pictures": []}
    pretend(page, "x", kept)
    ask(page, QUESTION)
    assert page.locator("#layers .cached").count() == 1
    expect(page.locator("#layers-legend")).to_contain_text("keys that stay in the cache")
    expect(page.locator("#kept-note")).to_have_text("This method dropped no token of this picture.")
    expect(page.get_by_label("Stage", exact=True)).to_be_disabled()


# ---------------------------------------------------------------- screens and readers


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
