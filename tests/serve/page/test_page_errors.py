"""The page in a real browser: whatever goes wrong is said, and what a model says is text."""

from __future__ import annotations

import json

import pytest
from PIL import Image

from browsers import CHROMIUM, NONE
from serve.conftest import small
from transprune.serve.limits import Limits

sync_api = pytest.importorskip(
    "playwright.sync_api", reason="playwright's package is not installed"
)
from serve.visits import (  # noqa: E402 (it imports playwright)
    QUESTION,
    answers,
    ask,
    picture_of,
    pretend,
)

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason=NONE)
expect = sync_api.expect


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
