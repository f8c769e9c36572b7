"""Clicks: which of them count. A click is cheap to make, and rankers learn from it.

Two rules, at ingestion, before the log: what sellers do to their own listings does not count, and
of one person, one device, or one person and listing only so many clicks within an hour. What does
not count goes to the quarantine with its reason, so that it is seen and can be put back.
"""

from collections import Counter
from dataclasses import dataclass

import msgspec

from heirloom.core.errors import ConfigError
from heirloom.core.event import ENGAGEMENT_KINDS, Event, Kind, Scalar, person_key

HOUR_MS = 3_600_000
DEVICE = "device_token"
"""Attribute: a random token of the device, from the marketplace's client."""
SELLS_AS = "sells_as"
"""Attribute: the seller id of the person who acts, where they sell too."""
_CLICK = Kind.CLICK
COUNTED = frozenset(ENGAGEMENT_KINDS)
"""What lifts a listing."""


@dataclass(frozen=True, slots=True)
class ClickRules:
    """How many clicks count within an hour, 0 for all; and who sells.

    Attributes:
        person: of one person, or of one session where nobody is known.
        device: of one device, whoever uses it.
        listing: of one person on one listing.
        sellers_are_users: whether a person's token and a seller's id are the same names. Where they
            are not, a seller is known by the attribute SELLS_AS alone.
    """

    person: int = 0
    device: int = 0
    listing: int = 0
    sellers_are_users: bool = False

    def __post_init__(self) -> None:
        if min(self.person, self.device, self.listing) < 0:
            raise ConfigError("events", [f"{self}: wanted 0 or more"])


class Clicks:
    """The clicks of the hour under way, counted.

    The hour is that of ingestion: an event's own time is the sender's to choose. Memory is of one
    hour; a restart begins a new count.
    """

    def __init__(self, rules: ClickRules) -> None:
        self._rules = rules
        self._counting = any((rules.person, rules.device, rules.listing))
        self._hour = -1
        self._counts: Counter[tuple[str, str, str]] = Counter()

    def refusal(self, event: Event, *, own: bool, ingested_at: int) -> str | None:
        """Why an event does not count, as a sentence; None, and it is counted, if it does.

        Args:
            event: of any kind.
            own: whether who acts sells the listing.
            ingested_at: ms since 1970 UTC.

        >>> clicks = Clicks(ClickRules(person=1))
        >>> click = Event(event_id="1", kind="click", t=0, user="anna", listing="a")
        >>> [clicks.refusal(click, own=False, ingested_at=at) for at in (0, HOUR_MS)]
        [None, None]
        >>> clicks.refusal(click, own=False, ingested_at=HOUR_MS + 1)
        "over 1 clicks of person 'anna' within an hour"
        """
        if event.kind not in COUNTED:
            return None
        if own:
            on = f"on their own listing '{event.listing}'"
            return f"a {event.kind} of the seller {on} does not count"
        if event.kind != _CLICK or not self._counting:
            return None
        hour = ingested_at // HOUR_MS
        if hour != self._hour:
            self._hour = hour
            self._counts.clear()
        person = person_key(event.user, event.session)
        device = event.attributes.get(DEVICE)
        of = (
            (self._rules.person, ("person", person, "")),
            (self._rules.listing, ("person on a listing", person, event.listing or "")),
            (self._rules.device, ("device", device if isinstance(device, str) else "", "")),
        )
        capped = [(cap, key) for cap, key in of if cap and key[1]]
        for cap, key in capped:
            if self._counts[key] >= cap:
                return f"over {cap} clicks of {key[0]} '{key[1]}' within an hour"
        self._counts.update(key for _, key in capped)
        return None


def seller_ids(event: Event, rules: ClickRules) -> tuple[str, ...]:
    """The seller ids of who acts.

    >>> event = Event(event_id="1", kind="click", t=0, user="u", attributes={"sells_as": "s"})
    >>> seller_ids(event, ClickRules()), seller_ids(event, ClickRules(sellers_are_users=True))
    (('s',), ('s', 'u'))
    """
    if not event.attributes and not rules.sellers_are_users:
        return ()
    sells_as: Scalar | list[str] | None = event.attributes.get(SELLS_AS)
    names = (sells_as, event.user if rules.sellers_are_users else None)
    return tuple(name for name in names if isinstance(name, str) and name)


def without_tokens(event: Event) -> Event:
    """The event without what only these rules read: it is not kept.

    >>> event = Event(event_id="1", kind="click", t=0, attributes={"sells_as": "s", "size": "M"})
    >>> without_tokens(event).attributes
    {'size': 'M'}
    """
    if not event.attributes or event.attributes.keys().isdisjoint((DEVICE, SELLS_AS)):
        return event
    kept = {name: said for name, said in event.attributes.items() if name not in (DEVICE, SELLS_AS)}
    return msgspec.structs.replace(event, attributes=kept)
