"""Addresses: who asks without a key, or with wrong ones, is counted by where they ask from.

An address of IPv6 counts with its /64, which is what one customer of a network is given. What is
kept is bounded: buckets of a fixed file, and a number for each address that has a connection open.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from heirloom.apps.security.caller import Allowance
from heirloom.apps.security.rate import Buckets

ELSEWHERE = "elsewhere"
"""Where those ask from whose address is none: what a proxy says may be anything."""


def place_of(host: str) -> str:
    """Where an address counts.

    >>> place_of("192.0.2.7"), place_of("::ffff:192.0.2.7"), place_of("unknown")
    ('192.0.2.7', '192.0.2.7', 'elsewhere')
    >>> place_of("2001:db8::1") == place_of("2001:db8::ffff")
    True
    """
    try:
        address = ip_address(host.partition("%")[0])
    except ValueError:
        return ELSEWHERE
    if isinstance(address, IPv6Address):
        if address.ipv4_mapped is None:
            return str(IPv6Network((int(address) >> 64 << 64, 64)))
        address = address.ipv4_mapped
    return str(address)


@dataclass(frozen=True, slots=True)
class Addresses:
    """How often one address may ask.

    Attributes:
        buckets: where requests are counted, for all workers.
        free: of requests that need no key.
        wrong: of requests with credentials that open nothing, and without any where some are asked
            for. Those with a good key pass, whatever else comes from their address.
    """

    buckets: Buckets
    free: Allowance
    wrong: Allowance

    def take(self, host: str, *, wrong: bool) -> int:
        """Take one request of an address; 0, or how many ns to wait before asking again."""
        allowance = self.wrong if wrong else self.free
        if not allowance.per_second:
            return 0
        return self.buckets.take(f"{'wrong' if wrong else 'free'}:{place_of(host)}", allowance)


class Connections:
    """Connections that are open, by address; of one process.

    Args:
        most: of one address; 0: no limit.
        proxies: addresses and networks that are not limited: others ask through them.
    """

    def __init__(self, most: int = 0, proxies: Sequence[str] = ()) -> None:
        self._most = most
        self._proxies = networks_of(proxies)
        self._open: Counter[str] = Counter()

    def __len__(self) -> int:
        """How many addresses have one open."""
        return len(self._open)

    def enter(self, host: str, *, anew: bool = True) -> bool:
        """One more; False where that is too many, and then it does not count.

        Not `anew`: it was let in by another process, and only moves.
        """
        if not self._most or self._is_proxy(host):
            return True
        place = place_of(host)
        if anew and self._open[place] >= self._most:
            return False
        self._open[place] += 1
        return True

    def leave(self, host: str) -> None:
        """One of those that entered has ended."""
        place = place_of(host)
        if self._open[place] > 1:
            self._open[place] -= 1
        else:
            del self._open[place]

    def _is_proxy(self, host: str) -> bool:
        try:
            address = ip_address(host)
        except ValueError:
            return False
        address = getattr(address, "ipv4_mapped", None) or address
        return any(address in network for network in self._proxies)


def networks_of(proxies: Sequence[str]) -> list[IPv4Network | IPv6Network]:
    """Addresses and networks as networks.

    Raises:
        ValueError: one is neither.

    >>> [str(each) for each in networks_of(["10.0.0.0/8", "::1"])]
    ['10.0.0.0/8', '::1/128']
    """
    return [ip_network(proxy) for proxy in proxies]
