"""The endpoint answers a question with a picture."""

import base64
import json
import socket
import subprocess
import time
import urllib.request

from transprune.demo import folder, read_questions

with socket.socket() as free:
    free.bind(("127.0.0.1", 0))
    port = free.getsockname()[1]
address = f"http://127.0.0.1:{port}"
server = subprocess.Popen(["transprune", "serve", "--model", "nano", "--port", str(port)])


def ask(path: str, body: dict | None = None) -> bytes:
    """The answer of a route."""
    data = None if body is None else json.dumps(body).encode()
    headers = {"Content-Type": "application/json"}
    request = urllib.request.Request(address + path, data, headers)
    with urllib.request.urlopen(request, timeout=60) as answer:
        return answer.read()


def wait() -> None:
    """Until it is ready, for two minutes at most."""
    for _ in range(240):
        try:
            ask("/ready")
            return
        except OSError:
            time.sleep(0.5)
    raise SystemExit("the server did not become ready")


try:
    wait()
    question = read_questions()[1]
    picture = (folder() / "pictures" / question.picture).read_bytes()
    url = "data:image/png;base64," + base64.b64encode(picture).decode()
    content = [
        {"type": "image_url", "image_url": {"url": url}},
        {"type": "text", "text": question.question},
    ]
    body = {"model": "nano", "messages": [{"role": "user", "content": content}]}
    answer = json.loads(ask("/v1/chat/completions", body))
    assert answer["usage"]["pruning"]["visual_tokens_after"] < 144, answer
finally:
    server.terminate()
    server.wait(60)
