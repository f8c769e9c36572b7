"""Windows and their hops: a window's head is fresh, its tail moves in steps of one hop."""

from dataclasses import dataclass

MINUTE_MS = 60_000
HOUR_MS = 60 * MINUTE_MS
DAY_MS = 24 * HOUR_MS
FOREVER_MS = 1 << 60


@dataclass(frozen=True, slots=True)
class Window:
    """Events e with floor(e.t / hop) in [floor((t - length) / hop), floor(t / hop)].

    The stretch covered is at least `length_ms` and less than `length_ms + hop_ms` long, and ends
    at the end of the bucket that holds t: what happened in that bucket counts once applied.

    >>> WINDOWS["24h"].buckets
    25
    """

    length_ms: int
    hop_ms: int

    @property
    def buckets(self) -> int:
        """Ring size: the most buckets that one window can touch."""
        if self.length_ms == FOREVER_MS:
            return 1
        return -(-self.length_ms // self.hop_ms) + 1


WINDOWS: dict[str, Window] = {
    "1h": Window(HOUR_MS, 5 * MINUTE_MS),
    "24h": Window(DAY_MS, HOUR_MS),
    "7d": Window(7 * DAY_MS, 6 * HOUR_MS),
    "14d": Window(14 * DAY_MS, 12 * HOUR_MS),
    "30d": Window(30 * DAY_MS, DAY_MS),
    "4w": Window(28 * DAY_MS, 7 * DAY_MS),
    "12w": Window(84 * DAY_MS, 28 * DAY_MS),
    "90d": Window(90 * DAY_MS, 5 * DAY_MS),
    "180d": Window(180 * DAY_MS, 10 * DAY_MS),
    "365d": Window(365 * DAY_MS, 15 * DAY_MS),
    "ever": Window(FOREVER_MS, FOREVER_MS),
}
"""The windows that definitions may name. A hop is part of a definition: never change one here
without a new `kernel.KERNEL_VERSION`. `4w` and `12w` are coarse, five and four buckets, for keys
of which there are many (person x brand); the others keep at most 31 buckets."""
