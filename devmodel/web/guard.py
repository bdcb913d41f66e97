"""Who may see a machine in a browser.

A browser lets every page that it shows connect to this machine's own ports, so an address alone keeps nobody out.
`Host` must be a name that nobody else can have pointed here (DNS rebinding), a WebSocket's `Origin` must be the page
that was served from here, and where there is a password its cookie goes with requests of this site alone.
"""

import hashlib
import hmac
import ipaddress
import secrets
import socket
from collections.abc import Mapping
from http.cookies import CookieError, SimpleCookie
from typing import Final

import attrs

COOKIE: Final = "devmodel-{port}"
"""Browsers keep one set of cookies for all ports of a host."""


def name_of(host: str) -> str:
    """Return the name or number in a Host header, without its port."""
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.partition(":")[0].rstrip(".").lower()


@attrs.frozen
class Guard:
    """What a request must have. `names` are the hosts that this machine goes by; None says that any will do."""

    names: frozenset[str] | None
    password: bytes | None = None
    secret: str = attrs.field(factory=lambda: secrets.token_urlsafe(32))
    """The value of the cookie of those who have said the password."""

    @classmethod
    def of(cls, host: str | None, password: bytes | None, secret: str) -> "Guard":
        """Return the guard of a port on `host`; of a Unix socket, which no browser reaches by a name, if it is None."""
        # With a password a foreign name is harmless: a page of that name has no cookie of ours.
        if host is None or password is not None:
            return cls(None, password, secret)
        return cls(frozenset((host.lower(), "localhost", socket.gethostname().lower())), password, secret)

    @property
    def identity(self) -> str:
        """What tells this machine from another that has come to its port."""
        return hashlib.sha256(b"identity " + self.secret.encode()).hexdigest()[:16]

    def knows_host(self, headers: Mapping[str, str]) -> bool:
        """Whether a request was meant for this machine: nobody can have a number point elsewhere."""
        host = headers.get("host", "")
        if self.names is None:
            return bool(host)
        name = name_of(host)
        if name in self.names or name.endswith(".localhost"):
            return True
        try:
            ipaddress.ip_address(name)
        except ValueError:
            return False
        return True

    @staticmethod
    def own_page(headers: Mapping[str, str]) -> bool:
        """Whether it comes from our own page, or from no page at all: programs other than browsers send no Origin."""
        origin = headers.get("origin")
        if origin is None:
            return True
        scheme, separator, host = origin.partition("://")
        return (
            bool(separator)
            and scheme in {"http", "https"}
            and host.lower() == headers.get("host", "").lower()
        )

    def admits(self, headers: Mapping[str, str]) -> bool:
        """Whether the password has been said, or there is none."""
        if self.password is None:
            return True
        try:
            cookies = SimpleCookie(headers.get("cookie", ""))
        except CookieError:
            return False
        name = self._cookie(headers)
        return name in cookies and hmac.compare_digest(cookies[name].value.encode(), self.secret.encode())

    def is_password(self, said: bytes) -> bool:
        """Whether it is the password."""
        return self.password is not None and hmac.compare_digest(said, self.password)

    def cookie(self, headers: Mapping[str, str]) -> str:
        """Return the Set-Cookie header of somebody who has said the password to this host."""
        return f"{self._cookie(headers)}={self.secret}; Path=/; HttpOnly; SameSite=Strict"

    @staticmethod
    def _cookie(headers: Mapping[str, str]) -> str:
        port = headers.get("host", "").rpartition(":")[2]
        return COOKIE.format(port=port if port.isdecimal() else "80")
