"""Fetch a picture from a host that was allowed by name, and from nowhere else.

The name is resolved here, every address it has must be a public one, and the connection goes to
the address that was checked: a name that answers differently the second time (DNS rebinding)
changes nothing. Redirects are not followed, and proxies of the environment are not used.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass, field
from typing import Any

from transprune.serve.limits import Limits
from transprune.serve.refusal import Refusal

PORTS = {"http": 80, "https": 443}

# (host, port) -> its addresses
Resolver = Callable[[str, int], Awaitable[list[str]]]


async def resolve(host: str, port: int) -> list[str]:
    """All addresses of a name."""
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [str(address[4][0]) for address in found]


def is_public(address: str) -> bool:
    """Whether an address lies on the open internet."""
    place = ipaddress.ip_address(address.partition("%")[0])
    # an IPv4 address may hide in an IPv6 one
    if isinstance(place, ipaddress.IPv6Address):
        inner = place.ipv4_mapped or place.sixtofour or (place.teredo or (None, None))[1]
        if inner is not None:
            return is_public(str(inner))
        if place in ipaddress.ip_network("64:ff9b::/96"):
            return is_public(str(ipaddress.IPv4Address(int(place) & 0xFFFFFFFF)))

    return place.is_global and not place.is_multicast


@dataclass
class Fetcher:
    """Fetches pictures by http(s).

    Attributes:
        hosts: names that are allowed, lower case; none by default.
        limits: bytes, and seconds for the whole of a fetch.
        resolver: looks a name up.
        transport: how connections are made; None for the network.
    """

    hosts: Collection[str] = ()
    limits: Limits = field(default_factory=Limits)
    resolver: Resolver = resolve
    transport: Any = None

    async def fetch(self, url: str, param: str) -> bytes:
        """The bytes behind a URL.

        Raises:
            Refusal: a scheme, host, port or address that is not allowed, a redirect, an error of
                the host, too many bytes, too slow.
        """
        import httpx2

        try:
            place = httpx2.URL(url)
        except (httpx2.InvalidURL, ValueError, TypeError):
            raise self._refuse("it is no valid URL", param) from None

        self._check(place, param)

        try:
            return await asyncio.wait_for(self._get(place, param), self.limits.body_seconds)
        except asyncio.TimeoutError:
            raise self._refuse("its host is too slow", param) from None
        except (httpx2.HTTPError, httpx2.InvalidURL, OSError, ValueError) as error:
            raise self._refuse(f"it cannot be fetched ({type(error).__name__})", param) from None

    def _check(self, place: Any, param: str) -> None:
        """Refuse by what the URL itself says."""
        if place.scheme not in PORTS:
            raise self._refuse("a picture is a data URL, or http(s) from an allowed host", param)
        if place.host.lower() not in self.hosts:
            raise self._refuse(
                "its host is not allowed; send the picture as a data URL, or start the server with "
                "--allow-url HOST",
                param,
            )

        # what stands in front of an @ can make one host look like another
        if place.userinfo:
            raise self._refuse("it carries a user name", param)
        # another port may be another service of an allowed host
        if place.port not in (None, PORTS[place.scheme]):
            raise self._refuse("only the standard ports are used", param)

    async def _get(self, place: Any, param: str) -> bytes:
        import httpx2

        port = PORTS[place.scheme]
        addresses = await self.resolver(place.host, port)
        if not addresses or not all(map(is_public, addresses)):
            raise self._refuse("its host has an address that is not public", param)

        # the address that was checked; certificate and Host header stay those of the name
        pinned = place.copy_with(host=addresses[0])
        options: Any = {"follow_redirects": False, "trust_env": False, "transport": self.transport}
        async with httpx2.AsyncClient(**options) as client:
            headers = {"Host": place.host, "Accept": "image/*", "Accept-Encoding": "identity"}
            name = {"sni_hostname": place.host}
            async with client.stream("GET", pinned, headers=headers, extensions=name) as answer:
                if answer.status_code != 200:
                    raise self._refuse(
                        f"its host answered {answer.status_code}; redirects are not followed", param
                    )
                return await self._read(answer, param)

    async def _read(self, answer: Any, param: str) -> bytes:
        """The body, as it was sent: nothing is decompressed."""
        data = bytearray()
        async for chunk in answer.aiter_raw():
            data += chunk
            if len(data) > self.limits.body_bytes:
                raise self._refuse(f"it is larger than {self.limits.body_bytes:,} bytes", param)
        return bytes(data)

    def _refuse(self, why: str, param: str) -> Refusal:
        return Refusal(
            f"the picture's URL is refused: {why}", param=param, code="invalid_image_url"
        )
