"""The page in a real browser: it answers, by mouse and by keyboard, and shows what was kept."""

from __future__ import annotations

import io
import re

import pytest
from PIL import Image

from browsers import CHROMIUM, NONE
from serve.conftest import PICTURES, body

sync_api = pytest.importorskip(
    "playwright.sync_api", reason="playwright's package is not installed"
)
from serve.visits import (  # noqa: E402 (it imports playwright)
    QUESTION,
    answers,
    ask,
    cells,
    dark_cells,
    move,
    picture_of,
    pretend,
    texts,
)

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason=NONE)
expect = sync_api.expect


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
