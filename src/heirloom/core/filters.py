"""Filters: what a listing must be to be shown, and how an event states them."""

from collections.abc import Mapping

import msgspec

from heirloom.core.errors import InputError


class Filters(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a listing must be to be shown. Empty fields ask for nothing."""

    category: str = ""
    """A category path or the beginning of one, whole steps: `women/dresses`."""
    brands: tuple[str, ...] = ()
    sizes: tuple[str, ...] = ()
    colours: tuple[str, ...] = ()
    conditions: tuple[str, ...] = ()
    countries: tuple[str, ...] = ()
    sellers: tuple[str, ...] = ()
    price_min_minor: int | None = None
    price_max_minor: int | None = None
    listed_since: int | None = None
    """Listed at this time or later, ms since 1970 UTC."""


def filters_of(stated: Mapping[str, object]) -> Filters:
    """Filters stated by name, in one form however they were ordered.

    Raises:
        InputError: for a name that is no filter, or a value of another type.

    >>> filters = filters_of({"brands": ["Cos", "Arket", "Cos"], "category": "women/coats/"})
    >>> filters == Filters(category="women/coats", brands=("Arket", "Cos"))
    True
    >>> filters_of({"brand": "Cos"})
    Traceback (most recent call last):
        ...
    heirloom.core.errors.InputError: unknown filter 'brand'; wanted some of category, brands, \
sizes, colours, conditions, countries, sellers, price_min_minor, price_max_minor, listed_since
    """
    known = Filters.__struct_fields__
    if unknown := sorted(set(stated) - set(known)):
        raise InputError(f"unknown filter {unknown[0][:40]!r}; wanted some of {', '.join(known)}")
    try:
        filters = msgspec.convert(dict(stated), Filters)
    except msgspec.ValidationError as error:
        raise InputError(f"a filter cannot be read: {error}") from error
    low, high = filters.price_min_minor, filters.price_max_minor
    if any(price is not None and price < 0 for price in (low, high)):
        raise InputError(f"prices from {low} to {high}; wanted 0 or more, in minor units")
    if low is not None and high is not None and low > high:
        raise InputError(f"prices from {low} to {high}: none lies between; wanted the lower first")
    one_form = {
        name: tuple(sorted({text for text in value if text}))
        for name in known
        if isinstance(value := getattr(filters, name), tuple)
    }
    return msgspec.structs.replace(filters, category=filters.category.strip("/"), **one_form)
