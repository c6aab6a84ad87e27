"""A stand-in of the Hugging Face hub on loopback: what pushing and fetching a small file ask of it.

Repositories are kept in memory. Addresses and answers are those of the hub's HTTP API as huggingface_hub uses it.
"""

from __future__ import annotations

import base64
import hashlib
import json
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

TOKEN = "hf_stub"


class Hub(BaseHTTPRequestHandler):
    """One request; repositories and commits are kept by the server."""

    protocol_version = "HTTP/1.1"

    def log_message(self, *args):
        pass

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.headers.get("Authorization") != f"Bearer {TOKEN}":
            return self.reply(401, {"error": "Invalid username or password."})

        if self.path == "/api/validate-yaml":
            return self.reply(200, {"errors": [], "warnings": []})
        if self.path == "/api/repos/create":
            return self.create(json.loads(body))
        repo, action = (
            self.path.removeprefix("/api/models/").rsplit("/", 2)[0],
            self.path.split("/")[-2],
        )
        if repo not in self.server.repositories:
            return self.reply(404, {"error": "Repository not found"})
        if action == "preupload":
            files = json.loads(body)["files"]
            modes = [
                {"path": f["path"], "uploadMode": "regular", "shouldIgnore": False} for f in files
            ]
            return self.reply(200, {"files": modes})
        assert action == "commit"
        return self.commit(repo, [json.loads(line) for line in body.splitlines()])

    def create(self, wanted):
        repo = f"{wanted.get('organization', 'me')}/{wanted['name']}"
        url = f"{self.server.address}/{repo}"
        if repo in self.server.repositories:
            return self.reply(409, {"error": "You already created this model repo", "url": url})
        self.server.repositories[repo] = {}
        self.server.private[repo] = wanted.get("visibility") == "private"
        return self.reply(200, {"url": url, "name": repo, "id": repo})

    def commit(self, repo, lines):
        for line in lines:
            if line["key"] == "file":
                content = base64.b64decode(line["value"]["content"])
                self.server.repositories[repo][line["value"]["path"]] = content
        self.server.messages.append(lines[0]["value"]["summary"])
        oid = hashlib.sha1(repr(lines).encode()).hexdigest()
        url = f"{self.server.address}/{repo}/commit/{oid}"
        return self.reply(200, {"success": True, "commitOid": oid, "commitUrl": url})

    def do_HEAD(self):
        self.do_GET()

    def do_GET(self):
        parts = self.path.strip("/").split("/")
        repo = "/".join(parts[:2])
        if len(parts) < 5 or parts[2] != "resolve":
            return self.reply(404, {"error": "not here"})
        files = self.server.repositories.get(repo)
        if files is None:
            return self.reply(
                401, {"error": "Repository not found"}, {"X-Error-Code": "RepoNotFound"}
            )
        content = files.get("/".join(parts[4:]))
        if content is None:
            return self.reply(404, {"error": "Entry not found"}, {"X-Error-Code": "EntryNotFound"})
        etag = hashlib.sha1(content).hexdigest()
        return self.reply(200, content, {"ETag": f'"{etag}"', "X-Repo-Commit": "0" * 40})

    def reply(self, status, content, headers=()):
        data = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        for name, value in dict(headers).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)


@contextmanager
def running():
    """The server; its `address`, `repositories`, `private` and `messages` are for the test to read."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    server.address = f"http://127.0.0.1:{server.server_port}"
    server.repositories, server.private, server.messages = {}, {}, []
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
