"""Fetch: a document from an address that the settings name, and from nowhere else it might lead.

Against server-side request forgery (OWASP API7:2023): a name is resolved once, each address of it
is looked at before any is connected to, and that very address is connected to, so that a second
answer of the name server changes nothing. No redirect is followed, no proxy of the environment is
used.
"""

import http.client
import socket
import ssl
import time
from collections.abc import Callable
from ipaddress import IPv4Address, IPv6Address, ip_address
from urllib.parse import SplitResult, urlsplit

from heirloom.apps.security.settings import is_loopback
from heirloom.core.errors import StoreError

Resolve = Callable[[str, int], list[str]]
"""A host and a port → its addresses as text."""
_CHUNK = 1 << 16
_NAT64 = int(IPv6Address("64:ff9b::")) >> 32


def fetch(
    address: str,
    *,
    limit: int,
    timeout_s: float,
    inside: bool = False,
    resolve: Resolve | None = None,
) -> bytes:
    """What lies at an https address.

    Args:
        address: http is taken of this machine alone, where `inside`.
        limit: bytes of it.
        timeout_s: for all of it.
        inside: it may lie on this machine or in a network of one's own.
        resolve: asks the name server.

    Raises:
        StoreError: it may not be asked, does not answer with 200 in time, or is too long.
    """
    parts, host, port = _parts(address, inside=inside)
    end = time.monotonic() + timeout_s
    try:
        found = (resolve or _resolved)(host, port)
        for each in found:
            if why := refusal(ip_address(each), inside=inside):
                raise StoreError(f"{address}: {host} is {each}, {why}; it is not asked")
        with socket.create_connection((found[0], port), timeout=timeout_s) as plain:
            if parts.scheme == "http":
                return _read(plain, parts, address, limit, end)
            context = ssl.create_default_context()
            with context.wrap_socket(plain, server_hostname=host) as connected:
                return _read(connected, parts, address, limit, end)
    except (OSError, http.client.HTTPException, UnicodeError) as error:
        raise StoreError(f"{address} cannot be read ({error})") from error


def refusal(address: IPv4Address | IPv6Address, *, inside: bool) -> str:
    """Why nothing at this address is asked; '' where it is.

    >>> refusal(ip_address("169.254.169.254"), inside=True)
    'of the link alone, where clouds keep their secrets'
    >>> refusal(ip_address("::ffff:127.0.0.1"), inside=False)
    'in a network of its own; `inside = true` allows that'
    >>> refusal(ip_address("127.0.0.1"), inside=True), refusal(ip_address("9.9.9.9"), inside=False)
    ('', '')
    """
    if isinstance(address, IPv6Address):
        within = address.ipv4_mapped or address.sixtofour
        if int(address) >> 32 == _NAT64:
            within = IPv4Address(int(address) & 0xFFFF_FFFF)
        if within is not None:
            return refusal(within, inside=inside)
    if address.is_link_local or address in _METADATA:
        return "of the link alone, where clouds keep their secrets"
    if address.is_multicast or address.is_unspecified:
        return "nobody's in particular"
    if address.is_global or (inside and (address.is_private or address.is_loopback)):
        return ""
    return "in a network of its own; `inside = true` allows that"


_METADATA = {ip_address("fd00:ec2::254"), ip_address("100.100.100.200"), ip_address("192.0.0.192")}
"""Of Amazon, Alibaba and Oracle; the others' are of the link."""


def _parts(address: str, *, inside: bool) -> tuple[SplitResult, str, int]:
    """An address in parts, its host and its port."""
    try:
        parts = urlsplit(address)
        host, port = parts.hostname or "", parts.port
    except ValueError as error:
        raise StoreError(f"{address}: {error}; wanted https://host/path") from error
    near = parts.scheme == "http" and inside and is_loopback(host)
    if not host or not (parts.scheme == "https" or near):
        raise StoreError(f"{address}: wanted https://host/path")
    if parts.username is not None or parts.password is not None:
        raise StoreError(f"{parts.scheme}://…@{host}: names a person; leave that out")
    return parts, host, port or (80 if near else 443)


def _resolved(host: str, port: int) -> list[str]:
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [str(each[4][0]) for each in found]


def _read(
    connected: socket.socket, parts: SplitResult, address: str, limit: int, end: float
) -> bytes:
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port)
    connection.sock = connected
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    connection.request("GET", target, headers={"accept": "application/json"})
    answer = connection.getresponse()
    if answer.status != 200:
        raise StoreError(
            f"{address} answers {answer.status}"
            + (f", and leads to {answer.headers.get('location', 'nowhere')[:200]}; name the place "
               "itself" if 300 <= answer.status < 400 else "")
        )  # fmt: skip
    content = b""
    while len(content) <= limit:
        left = end - time.monotonic()
        if left <= 0:
            raise StoreError(f"{address} does not come to its end in time")
        connected.settimeout(left)
        if not (part := answer.read1(_CHUNK)):
            return content
        content += part
    raise StoreError(f"{address} is over {limit} bytes")
