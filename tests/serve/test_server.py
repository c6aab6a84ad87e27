"""The command: it starts with nothing configured, refuses to start unsafely, and stops cleanly."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from dataclasses import replace

import httpx2
import pytest

from cli.conftest import cli  # noqa: F401
from serve.conftest import body
from transprune.cli import app
from transprune.errors import MissingExtra, ServeError
from transprune.serve import check_installed, recipes
from transprune.serve.limits import Limits
from transprune.serve.recipes import OFFERED, OFFERED_FOR, Recipes
from transprune.serve.server import Settings, bind, read_tokens, run_server


@contextmanager
def started(folder, *options, port=0):
    """`transprune serve` as a process of its own, and its address; its log is a file."""
    command = [sys.executable, "-m", "transprune.cli", "serve", "--threads", "1"]
    log = folder / "log.txt"
    with log.open("w") as file:
        process = subprocess.Popen([*command, "--port", str(port), *options], stderr=file)
    try:
        while not (found := re.search(r"at (http://\S+)/v1", log.read_text())):
            assert process.poll() is None, log.read_text()
            time.sleep(0.05)
        yield process, found[1]
    finally:
        process.kill()
        process.wait(20)


def post(address, **fields):
    url = f"{address}/v1/chat/completions"
    return httpx2.post(url, json=body(**fields), timeout=60, trust_env=False)


def test_the_command_serves_and_finishes_when_it_is_told_to_stop(tmp_path):
    with started(tmp_path) as (process, address):
        answer = post(address).json()
        assert answer["choices"][0]["message"]["content"] == "star"
        assert answer["usage"]["pruning"]["method"] == "transprune-high"
        assert httpx2.get(f"{address}/ready", trust_env=False).status_code == 200
        assert f"a page to try it: {address}/" in (tmp_path / "log.txt").read_text()
        assert httpx2.get(address, trust_env=False).text.startswith("<!doctype html>")

        statuses = []
        asking = threading.Thread(target=lambda: statuses.append(post(address).status_code))
        asking.start()
        deadline = time.monotonic() + 20
        while (
            "transprune_open_requests 1.0"
            not in httpx2.get(f"{address}/metrics", trust_env=False).text
            and asking.is_alive()
        ):
            assert time.monotonic() < deadline
        process.send_signal(signal.SIGTERM)
        asking.join(30)
        assert statuses == [200]
        process.wait(30)
        # uvicorn raises the signal again when all is done
        assert process.returncode in (0, -signal.SIGTERM)


@pytest.mark.slow
def test_a_server_that_was_killed_starts_again_on_the_same_port(tmp_path):
    with started(tmp_path) as (process, address):
        port = int(address.rpartition(":")[2])
        errors = []

        def ask():
            try:
                post(address)
            except httpx2.HTTPError as error:
                errors.append(error)

        threads = [threading.Thread(target=ask) for _ in range(8)]
        for thread in threads:
            thread.start()
        time.sleep(0.1)
        os.kill(process.pid, signal.SIGKILL)
        for thread in threads:
            thread.join(30)
            assert not thread.is_alive()
        assert errors  # a connection error, never half an answer
    with started(tmp_path, port=port) as (_, again):
        assert again == address
        assert post(again).json()["choices"][0]["message"]["content"] == "star"


# ---------------------------------------------------------------- what it refuses


def test_it_does_not_listen_to_others_without_a_token(checkpoint):
    none = Recipes(checkpoint, "nano", "unpruned", ())
    for host in ("0.0.0.0", "::", "192.0.2.1"):
        with pytest.raises(ServeError, match="a token is needed"):
            run_server(checkpoint, none, Settings(host=host))


def test_a_taken_port_is_said():
    with bind("127.0.0.1", 0) as first:
        first.listen()
        with pytest.raises(ServeError, match="choose another --port"):
            bind("127.0.0.1", first.getsockname()[1])


def test_tokens_come_from_a_file_and_the_environment(tmp_path):
    file = tmp_path / "tokens"
    file.write_text("one\n\n two \n")
    assert read_tokens(file, " three ") == ("three", "one", "two")
    assert read_tokens(None, None) == read_tokens(None, "") == ()
    file.write_text("\n")
    with pytest.raises(ServeError, match="no token"):
        read_tokens(file, None)
    with pytest.raises(ServeError, match="cannot be read"):
        read_tokens(tmp_path / "missing", None)
    with pytest.raises(ServeError, match="ASCII without spaces"):
        read_tokens(None, "a b")


def test_a_wrong_method_fails_at_once(cli):  # noqa: F811
    done = cli("serve", "--method", "transprun", "--port", 0)
    assert done.code == 1
    assert "Did you mean 'transprune'" in done.err
    done = cli("serve", "--offer", "fastv:layer=99", "--port", 0)
    assert done.code == 1


def test_usual_methods_are_offered_where_they_fit(checkpoint, monkeypatch):
    names = [recipe.name for recipe in Recipes(checkpoint, "nano", "unpruned")]
    assert names == ["unpruned", *OFFERED_FOR["nano"], *OFFERED]
    second = replace(checkpoint, source="smol")
    names = [recipe.name for recipe in Recipes(second, "smol", "unpruned")]
    assert names == ["unpruned", "transprune-smol", *OFFERED]
    monkeypatch.setattr(recipes, "OFFERED", ("transprune-low", "fastv:layer=99"))
    other = replace(checkpoint, source="elsewhere")
    names = [recipe.name for recipe in Recipes(other, "other", "unpruned")]
    assert names == ["unpruned", "transprune-low"]
    # whoever names methods gets these and no others
    names = [recipe.name for recipe in Recipes(checkpoint, "nano", "unpruned", ["fastv"])]
    assert names == ["unpruned", "fastv"]


def test_a_missing_extra_names_its_cure(monkeypatch):
    monkeypatch.setattr("transprune.serve.find_spec", lambda name: None)
    with pytest.raises(MissingExtra, match=r"pip install 'transprune\[serve\]'"):
        check_installed()


def test_headers_are_bounded_whatever_is_installed(monkeypatch):
    """Ray Serve brings httptools, which uvicorn prefers, and which takes headers of any size."""
    import uvicorn

    from transprune.serve.server import HEADERS, run_app

    started = []
    monkeypatch.setattr(uvicorn.Server, "run", lambda self, sockets: started.append(self.config))
    run_app(None, None, Settings(port=0), lambda line: None)
    assert started[0].http == "h11"
    assert started[0].h11_max_incomplete_event_size == HEADERS


def test_importing_the_command_loads_no_server():
    code = (
        "import sys, transprune.cli, transprune.serve; "
        "print(sorted({'fastapi', 'uvicorn', 'openai', 'torch'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_every_limit_of_the_help_is_the_default_of_the_library():
    command = next(one for one in app.registered_commands if one.name == "serve")
    import inspect

    given = {name: p.default for name, p in inspect.signature(command.callback).parameters.items()}
    limits = Limits()
    assert given["max_body_mib"] * 2**20 == limits.body_bytes
    assert given["max_pending_mib"] * 2**20 == limits.pending_bytes
    assert given["max_pixels"] == limits.pixels
    assert given["max_images"] == limits.pictures
    assert given["max_prompt_tokens"] == limits.prompt_tokens
    assert given["max_new_tokens"] == limits.new_tokens
    assert given["queue"] == limits.waiting
    assert given["max_batch"] == limits.batch
    assert given["max_batch_tokens"] == limits.batch_tokens
    assert given["gather_ms"] / 1000 == limits.gather_seconds
    assert given["timeout"] == limits.seconds
    assert given["reuse_mib"] * 2**20 == limits.reuse_bytes
    assert given["grace"] == Settings().grace
