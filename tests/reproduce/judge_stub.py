"""A judge on this machine: an OpenAI-compatible endpoint whose replies a test decides."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

Reply = Callable[[str], str | None]  # what was asked -> the reply; None for an error 400


def exact(asked: str) -> str:
    """Yes and 5 where both answers are the same, else no and 1."""
    lines = dict(line.split(": ", 1) if ": " in line else (line, "") for line in asked.splitlines())
    same = lines["Correct answer"] == lines.get("Given answer", "")
    return '{"pred": "yes", "score": 5}' if same else "{'pred': 'no', 'score': 1}"


@contextmanager
def judge_server(reply: Reply = exact) -> Iterator[tuple[str, list[dict]]]:
    """Its address, and the list of requests that it got."""
    seen: list[dict] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            seen.append(body)
            text = reply(body["messages"][-1]["content"])
            message = {"role": "assistant", "content": text}
            choice = {"index": 0, "finish_reason": "stop", "message": message}
            found = {"id": "1", "object": "chat.completion", "created": 0, "model": "stub"}
            content = json.dumps({**found, "choices": [choice]}).encode()
            self.send_response(200 if text is not None else 400)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *args: object) -> None:
            """Print nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/v1", seen
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
