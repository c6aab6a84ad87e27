"""The page's files: what they may load, who may read them, and that no path becomes a file's."""

from __future__ import annotations

import json
import re
from pathlib import Path

import httpx2
import pytest

import transprune
from transprune.demo.questions import read_questions
from transprune.serve.page_files import read_page

FOLDER = Path(transprune.__file__).parent / "serve" / "page"
SCRIPTS = sorted(FOLDER.glob("*.js"))
KINDS = {
    "/": "text/html; charset=utf-8",
    "/page/page.css": "text/css; charset=utf-8",
    "/page/main.js": "text/javascript; charset=utf-8",
    "/page/icon.svg": "image/svg+xml",
    "/page/scene1.png": "image/png",
    "/page/examples.json": "application/json",
}


def get(address, path="/", **options):
    return httpx2.get(address + path, trust_env=False, **options)


def test_every_file_is_sent_as_what_it_is(live):
    with httpx2.Client(base_url=live.address, trust_env=False) as client:
        for path, file in read_page().items():
            answer = client.get(path)
            assert answer.status_code == 200
            assert answer.content == file.content
            assert answer.headers["content-type"] == KINDS.get(path, file.media_type)
        head = client.head("/")
        assert head.status_code == 200 and head.content == b""
    assert KINDS.keys() <= read_page().keys()


def test_the_headers_of_the_page_allow_this_server_only(live):
    for path in KINDS:
        headers = get(live.address, path).headers
        policy = dict(part.split(" ", 1) for part in headers["content-security-policy"].split("; "))
        assert policy["default-src"] == "'none'"
        assert policy["script-src"] == policy["style-src"] == policy["connect-src"] == "'self'"
        assert policy["img-src"] == "'self' blob:"
        for name in ("base-uri", "form-action", "frame-ancestors"):
            assert policy[name] == "'none'"
        assert policy["require-trusted-types-for"] == "'script'"
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "no-referrer"
        assert headers["x-frame-options"] == "DENY"
        assert headers["cross-origin-resource-policy"] == "same-origin"
        assert "access-control-allow-origin" not in headers


def test_nothing_is_loaded_from_elsewhere():
    for file in FOLDER.iterdir():
        text = file.read_text(encoding="utf-8")
        addresses = set(re.findall(r"(?:https?:)?//[\w.-]+\.\w+[^\"' )]*", text))
        assert addresses <= {"http://www.w3.org/2000/svg", "//www.w3.org/2000/svg"}, file.name


def test_no_text_becomes_markup():
    assert len(SCRIPTS) > 5
    sinks = r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\b|new Function|srcdoc"
    for script in SCRIPTS:
        assert not re.search(sinks, script.read_text(encoding="utf-8")), script.name
    # neither scripts nor styles nor handlers within the page, which its policy would stop
    index = (FOLDER / "index.html").read_text(encoding="utf-8")
    assert not re.search(r"<style|\sstyle=|\son\w+=|javascript:", index)
    assert re.findall(r"<script[^>]*>([^<]*)</script>", index) == [""]


def test_a_path_never_leaves_the_page(live):
    for path in (
        "/page/",
        "/page/index.html",
        "/page/nothing.js",
        "/page/../page_files.py",
        "/page/%2e%2e/page_files.py",
        "/page/..%2fapp.py",
        "/page//etc/passwd",
        "/page/main.js%00",
        "//page/main.js",
    ):
        assert get(live.address, path).status_code == 404, path
    for method in ("POST", "PUT", "DELETE"):
        answer = httpx2.request(method, live.address, trust_env=False)
        assert answer.status_code == 405


def test_the_page_is_public_and_the_interface_is_not(serve):
    server = serve(tokens=("secret",))
    for path in KINDS:
        assert get(server.address, path).status_code == 200
        assert (
            "secret" not in get(server.address, path).text if path != "/page/scene1.png" else True
        )
    for path in ("/v1/pruning", "/v1/models", "/openapi.json"):
        assert get(server.address, path).status_code == 401
        headers = {"Authorization": "Bearer secret"}
        assert get(server.address, path, headers=headers).status_code == 200


def test_without_tokens_the_page_has_the_names_of_this_machine_only(live):
    for path in KINDS:
        assert get(live.address, path, headers={"Host": "evil.example"}).status_code == 403


def test_the_examples_are_the_demo_s(live):
    examples = json.loads(get(live.address, "/page/examples.json").text)
    assert [example["picture"] for example in examples] == [f"scene{n}.png" for n in range(1, 7)]
    asked = [entry["question"] for example in examples for entry in example["questions"]]
    assert asked == [question.question for question in read_questions()]


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.name)
def test_scripts_import_each_other_and_nothing_else(script):
    text = script.read_text(encoding="utf-8")
    for name in re.findall(r"from \"(.+?)\"", text):
        assert (FOLDER / name).is_file()
    assert len(text.splitlines()) <= 220
