"""Batch: pages for many people as of one moment; what decides them, and one page of it."""

import hashlib

import msgspec

FORMAT = 1


class Batch(msgspec.Struct, frozen=True, kw_only=True):
    """What decides every byte of a batch: two that are equal give the same pages."""

    format: int = FORMAT
    system: str
    """Its name."""
    surface: str
    k: int
    """Listings of a page."""
    t: int
    """As of when, ms since 1970 UTC."""
    n: int
    """Log offset applied."""
    log: str
    """What tells this log from another: a hash of its last entry before n."""
    policy: str
    bundle: str
    settings: str
    """Hash of the settings that decide a page, and of the view's version."""
    people: str
    """SHA-256 of the file of people."""
    persons: int
    """Of that file, each counted once."""
    rows_per_part: int
    """People of a part; the last part has what is left."""
    code_version: str

    @property
    def run(self) -> str:
        """Names the batch, in its parts and where it is published."""
        return hashlib.blake2b(msgspec.json.encode(self), digest_size=8).hexdigest()

    @property
    def parts(self) -> int:
        """How many files of pages it has."""
        return -(-self.persons // self.rows_per_part)

    def size_of(self, part: int) -> int:
        """How many people are in a part."""
        return min(self.rows_per_part, self.persons - part * self.rows_per_part)


class BatchPage(msgspec.Struct, frozen=True, array_like=True):
    """One person's page. Sold listings stand in it still: who shows it asks availability first.

    Attributes:
        person: the user's id.
        slate: its slate's id, for events to name.
        listings: ids, in their order.
        scores: of each.
        sources: names of the retrievers that proposed each.
        propensities: chance of each at its place.
        stranger: whether nothing is known of this person, so that the page is anybody's.
        degraded: what answered with less than was asked of it.
    """

    person: str
    slate: str
    listings: tuple[str, ...]
    scores: tuple[float, ...]
    sources: tuple[tuple[str, ...], ...]
    propensities: tuple[float, ...]
    stranger: bool
    degraded: tuple[str, ...] = ()


class PartDone(msgspec.Struct, frozen=True, kw_only=True):
    """What stands in one part."""

    number: int
    persons: int
    strangers: int
    """Of whom nothing is known."""
    empty: int
    """Whose page has no listing."""
    degraded: int
    """Whose page says that a step answered with less."""
    rows: int
    """Listings of all pages."""
    cpu_ms: int = 0
    """CPU time that it took; 0 where it was found finished."""
