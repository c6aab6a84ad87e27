"""Visits to the page of a server: open it, ask, read what it shows, and pretend answers."""

from __future__ import annotations

import json
import re

from playwright.sync_api import expect

from browsers import CHROMIUM, FLAGS
from serve.conftest import PICTURES, body

QUESTION = "what shape is the orange object?"
PATIENCE = 60_000  # milliseconds; a busy machine is no failure


def launch(playwright):
    """The system's own chromium with an empty profile."""
    expect.set_options(timeout=PATIENCE)
    return playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)


def open_page(browser, server, *, width=1280, scheme="light", ready=True, **options):
    """The page of a server in a tab of its own.

    `page.log` lists its errors and console lines, `page.hosts` where its requests went.
    """
    context = browser.new_context(
        viewport={"width": width, "height": 900}, color_scheme=scheme, **options
    )
    page = context.new_page()
    page.set_default_timeout(PATIENCE)
    page.log = []
    page.hosts = set()
    page.on("console", lambda message: page.log.append(message.text))
    page.on("pageerror", lambda error: page.log.append(str(error)))
    page.on("request", lambda request: page.hosts.add(request.url.split("/")[2]))
    page.goto(server.address)
    if ready:
        expect(page.get_by_role("button", name="Ask both")).to_be_visible()
        expect(page.locator("#picture-name")).to_contain_text("Example 1")
    return page


def ask(page, question=None):
    """Ask, and wait for both answers."""
    if question:
        page.get_by_label("Question", exact=True).fill(question)
    page.get_by_role("button", name="Ask both").click()
    expect(page.get_by_role("status")).to_contain_text("Done.")
    return page


def cells(page, row):
    """Texts of a row of the table, with plain spaces."""
    found = page.get_by_role("row", name=row).get_by_role("cell").all_inner_texts()
    return [text.replace("\u00a0", " ") for text in found]


def answers(page):
    """What the unpruned side shows, and the pruned one."""
    sides = ("unpruned", "pruned")
    return tuple(page.locator(f"#{side}-answer").inner_text() for side in sides)


def move(page, label, value):
    """Put a slider at a value, as a drag would."""
    page.get_by_label(label, exact=True).evaluate(
        "(slider, value) => { slider.value = value;"
        "slider.dispatchEvent(new Event('input', { bubbles: true })); }",
        value,
    )


def texts(live, **fields):
    answer = live.post(body(QUESTION, PICTURES[0], **fields)).json()
    return answer["choices"][0]["message"]["content"], answer["usage"]["pruning"]


def dark_cells(page):
    """Numbers of the dropped tokens as the picture shows them."""
    path = page.locator("#kept path.dropped").get_attribute("d")
    return [12 * int(y) + int(x) for x, y in re.findall(r"M(\d+) (\d+)h", path)]


def pretend(page, text, kept, seconds=(0.1,)):
    """Answer every request of a page with this, each in the next of `seconds`, over and over."""
    requests = []

    def answer(route):
        first = seconds[len(requests) % len(seconds)]
        requests.append(route.request.post_data_json)
        bill = {"method": "x", "visual_tokens_before": 10, "visual_tokens_after": 4}
        bill |= {"prefill_flops_share": 0.5, "batch_size": 1, "queued_seconds": 0.01}
        bill |= {"first_token_seconds": first + 0.01, "total_seconds": first + 0.02}
        told = {"tokens_per_layer": [10, 4], "cached_per_layer": [10, 4], "kv_share": 0.7}
        told |= {"stages": [{"boundary": 1, "method": "x"}], "notes": []}
        parts = [
            {"choices": [{"delta": {"content": text}}], "pruning_trace": told | kept},
            {"choices": [], "usage": {"pruning": bill}},
        ]
        events = "".join(f"data: {json.dumps(part)}\n\n" for part in parts)
        route.fulfill(status=200, body=events + "data: [DONE]\n\n")

    page.route("**/v1/chat/completions", answer)
    return requests


def picture_of(rows, columns, *kept):
    place = {"rows": rows, "columns": columns, "cropped": False}
    return {"pictures": [{"visual_tokens": 10, **place, "kept": list(kept)}]}
