"""Opening: the guard that a system's settings ask for; a door that nobody guards is refused."""

from collections.abc import Sequence
from pathlib import Path

from heirloom.apps.security.addresses import Addresses
from heirloom.apps.security.guard import Guard
from heirloom.apps.security.hosts import Hosts
from heirloom.apps.security.keys import KeysFile, WatchedKeys
from heirloom.apps.security.rate import Buckets
from heirloom.apps.security.settings import AddressesPart, AuthPart, is_loopback
from heirloom.apps.security.tokens import Tokens
from heirloom.core.errors import ConfigError

BUCKETS = "buckets"
"""The file in the system's folder that all its workers count requests in."""
OF_ADDRESSES = "addresses"
"""The same for requests without a key."""


def guard_of(
    auth: AuthPart,
    *,
    folder: Path,
    host: str,
    unguarded: bool = False,
    addresses: AddressesPart = AddressesPart(),  # noqa: B008 - frozen
    hosts: Sequence[str] = (),
    admin: bool = False,
    strangers: bool = True,
) -> Guard:
    """The guard of a door.

    A door that this machine alone can reach is open unless the settings or a provider's tokens
    close it; any other asks for a key. The names that it is asked under are looked at where a
    browser on this machine is all it takes to come in, at the admin door, and where some are given.

    Args:
        auth: [http.auth].
        folder: the system's.
        host: where the door listens.
        unguarded: leave it open whatever host and settings say, as a person asked for in so many
            words.
        addresses: [http.addresses].
        hosts: [http] hosts.
        admin: of the admin door.
        strangers: whether a closed door answers what needs no scope to those without a key.

    Raises:
        ConfigError: the door asks for a key and nothing would open it.
    """
    closed = auth.required
    if closed is None:
        closed = auth.tokens is not None or not is_loopback(host)
    is_open = unguarded or not closed
    is_reached_by_browser = is_open and is_loopback(host)
    named = Hosts(tuple(hosts)) if hosts or admin or is_reached_by_browser else None
    places = None
    if addresses.per_second or not is_open:
        buckets = Buckets(folder / OF_ADDRESSES)
        places = Addresses(buckets, free=addresses.free, wrong=addresses.wrong)
    if is_open:
        return Guard(addresses=places, hosts=named)
    guard = Guard(
        WatchedKeys(KeysFile(folder)),
        tokens=None if auth.tokens is None else Tokens(auth.tokens),
        buckets=Buckets(folder / BUCKETS),
        allowance=auth.allowance,
        addresses=places,
        hosts=named,
        strangers=strangers,
    )
    if not guard.can_be_passed():
        raise ConfigError(
            "http.auth",
            [
                f"{host} asks for a key, and there is none in {folder}. Make one: "
                "`heirloom keys add NAME --scope read,events`; or listen on 127.0.0.1; or, where "
                "something else guards this door, `heirloom serve --open`"
            ],
        )
    return guard
