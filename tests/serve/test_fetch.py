"""Pictures by address: only from hosts that were allowed, and only from public addresses."""

from __future__ import annotations

import asyncio

import httpx2
import pytest

from transprune.serve.fetch import Fetcher, is_public
from transprune.serve.limits import Limits
from transprune.serve.refusal import Refusal

PUBLIC = "93.184.216.34"
PRIVATE = (
    "127.0.0.1",
    "10.0.0.1",
    "172.16.0.1",
    "192.168.1.1",
    "169.254.169.254",
    "100.64.0.1",
    "0.0.0.0",
    "224.0.0.1",
    "255.255.255.255",
    "::1",
    "::",
    "fe80::1%eth0",
    "fc00::1",
    "ff02::1",
    "::ffff:127.0.0.1",
    "::ffff:10.0.0.1",
    "2002:7f00:1::",
    "64:ff9b::7f00:1",
)


def fetcher(answer=None, addresses=(PUBLIC,), hosts=("example.org",), **limits):
    """A fetcher without a network; `asked` collects what would have been sent."""
    asked = []

    async def resolve(host, port):
        asked.append((host, port))
        return list(addresses)

    async def handle(request):
        asked.append(request)
        if callable(answer):
            return await answer()
        return answer or httpx2.Response(200, stream=httpx2.ByteStream(b"picture"))

    made = Fetcher(hosts, Limits(**limits), resolve, httpx2.MockTransport(handle))
    return made, asked


def fetch(made, url):
    return asyncio.run(made.fetch(url, "p"))


def refused(made, url):
    with pytest.raises(Refusal) as caught:
        fetch(made, url)
    assert (caught.value.status, caught.value.param) == (400, "p")
    return str(caught.value)


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_an_allowed_host_is_asked_at_the_address_that_was_checked(scheme):
    made, asked = fetcher()
    assert fetch(made, f"{scheme}://Example.org/a/b.png?x=1") == b"picture"
    assert asked[0] == ("example.org", 443 if scheme == "https" else 80)

    request = asked[1]
    assert request.url.host == PUBLIC  # no second look-up that could say something else
    assert request.url.path == "/a/b.png"
    assert request.headers["host"] == "example.org"
    assert request.extensions["sni_hostname"] == "example.org"
    assert "authorization" not in request.headers and "cookie" not in request.headers


@pytest.mark.parametrize("address", PRIVATE)
def test_a_private_address_is_not_public(address):
    assert not is_public(address)
    made, asked = fetcher(addresses=(PUBLIC, address))
    assert "not public" in refused(made, "http://example.org/a.png")
    assert len(asked) == 1  # resolved, and never connected


def test_public_addresses_are():
    assert is_public(PUBLIC) and is_public("2606:2800:220:1:248:1893:25c8:1946")


def test_no_host_is_allowed_by_default():
    made, asked = fetcher(hosts=())
    assert "--allow-url" in refused(made, "https://example.org/a.png")
    assert asked == []


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1/a.png",
        "http://localhost/a.png",
        "http://[::1]/a.png",
        "http://2130706433/a.png",
        "http://0x7f.1/a.png",
        "http://example.org.evil.net/a.png",
        "http://evil.net/#example.org",
        "http://evil.net\\@example.org/a.png",
        "http://example.org@evil.net/a.png",
        "http://user:secret@example.org/a.png",
        "http://example.org:22/a.png",
        "http://example.org:8000/a.png",
        "ftp://example.org/a.png",
        "file:///etc/passwd",
        "file://example.org/etc/passwd",
        "gopher://example.org/",
        "//example.org/a.png",
        "example.org/a.png",
        "/etc/passwd",
        "http://",
        "http://[",
        "http://exa mple.org/",
        "http://" + "a" * 70_000,
        "",
    ],
)
def test_other_addresses_are_refused_before_anything_is_asked(url):
    made, asked = fetcher()
    assert "secret" not in refused(made, url)
    assert asked == []


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308, 304, 204, 206, 404, 500])
def test_redirects_and_errors_are_refused(status):
    headers = {"Location": "http://169.254.169.254/latest/meta-data"}
    made, asked = fetcher(httpx2.Response(status, headers=headers))
    assert f"answered {status}" in refused(made, "https://example.org/a.png")
    assert len(asked) == 2


def test_too_many_bytes_are_refused_while_they_arrive():
    sent = []

    class Endless(httpx2.AsyncByteStream):
        async def __aiter__(self):
            while True:
                sent.append(1)
                yield b"x" * 1000

    made, _ = fetcher(httpx2.Response(200, stream=Endless()), body_bytes=5000)
    assert "larger than 5,000 bytes" in refused(made, "http://example.org/a.png")
    assert len(sent) < 10


def test_nothing_is_decompressed():
    import gzip

    packed = gzip.compress(b"\0" * 1_000_000)
    response = httpx2.Response(
        200, headers={"Content-Encoding": "gzip"}, stream=httpx2.ByteStream(packed)
    )
    made, asked = fetcher(response)
    assert fetch(made, "http://example.org/a.png") == packed
    assert asked[1].headers["accept-encoding"] == "identity"


def test_a_host_that_never_answers_is_given_up():
    async def never():
        await asyncio.sleep(60)

    made, _ = fetcher(never, body_seconds=0.05)
    assert "too slow" in refused(made, "http://example.org/a.png")


def test_a_name_that_does_not_resolve_is_refused():
    made, _ = fetcher(addresses=())
    refused(made, "http://example.org/a.png")

    async def fails(host, port):
        raise OSError("no such name")

    made.resolver = fails
    assert "cannot be fetched" in refused(made, "http://example.org/a.png")


def test_a_proxy_of_the_environment_is_not_used(monkeypatch):
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:1")
    made, asked = fetcher()
    assert fetch(made, "http://example.org/a.png") == b"picture"
    assert asked[1].url.host == PUBLIC
