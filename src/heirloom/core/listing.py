"""Listing: the thing for sale. One seller, one piece, sold once."""

import enum

import msgspec

MAX_TITLE = 1_000
MAX_DESCRIPTION = 20_000
MAX_FIELD = 256


class Status(enum.IntEnum):
    """What has become of a listing. Only LIVE listings are shown."""

    LIVE = 0
    RESERVED = 1
    SOLD = 2
    REMOVED = 3


class Listing(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The thing for sale, as its seller describes it."""

    listing_id: str
    seller: str
    title: str
    description: str = ""
    hashtags: tuple[str, ...] = ()
    category: str = ""
    """Path from the root, slashes between: `women/dresses/midi`."""
    brand: str = ""
    size: str = ""
    colour: str = ""
    condition: str = ""
    material: str = ""
    price_minor: int = 0
    """Price in the minor unit of `currency` (cents)."""
    currency: str = "EUR"
    country: str = ""
    image: str = ""
    """Of the first photo: a URL, or a path below the system's folder of images."""
    photos: int = 0
    listed_at: int = 0
    """ms since 1970 UTC."""

    def problem(self) -> str | None:
        """Why this listing cannot enter the log, as a sentence; None if it can."""
        if not self.listing_id or len(self.listing_id) > MAX_FIELD:
            return "data.listing_id is empty or too long"
        if "\x00" in self.listing_id or "\x00" in self.seller:
            return "data holds an id with a NUL character"
        if not self.seller:
            return "data.seller is empty"
        if len(self.title) > MAX_TITLE:
            return f"data.title is {len(self.title)} characters long; at most {MAX_TITLE}"
        if len(self.description) > MAX_DESCRIPTION:
            length = len(self.description)
            return f"data.description is {length} characters long; at most {MAX_DESCRIPTION}"
        for name in ("seller", "category", "brand", "size", "colour", "condition", "material"):
            if len(getattr(self, name)) > MAX_FIELD:
                return f"data.{name} is {len(getattr(self, name))} characters; at most {MAX_FIELD}"
        if len(self.hashtags) > 100 or any(len(tag) > MAX_FIELD for tag in self.hashtags):
            return f"data.hashtags: at most 100 tags of {MAX_FIELD} characters"
        if not 0 <= self.price_minor <= 10**15:
            return f"data.price_minor is {self.price_minor}; wanted 0 … 10^15"
        if len(self.country) > MAX_FIELD or len(self.image) > MAX_DESCRIPTION:
            return f"data.country or data.image is too long; at most {MAX_FIELD}, {MAX_DESCRIPTION}"
        if self.photos < 0:
            return f"data.photos is negative ({self.photos})"
        return None
