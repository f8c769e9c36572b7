"""Mapping: which column of somebody's tables is which field of ours. TOML, checked whole.

`load_mapping` refuses a wrong mapping with the list of all that is wrong, columns included, before
anything is read; `history.events_from` uses it.
"""

import difflib
import tomllib
import zoneinfo
from collections.abc import Iterator
from collections.abc import Mapping as Dict
from pathlib import Path
from typing import Annotated, Any, Literal

import polars as pl
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PositiveFloat,
    ValidationError,
    model_validator,
)
from pydantic_core import ErrorDetails

from heirloom.adapters import files
from heirloom.core.errors import ConfigError
from heirloom.core.event import LISTING_KINDS, STOCK_KINDS, Kind
from heirloom.core.facts import MAX_DECLARED

TIME_FORMATS = ("ms", "s", "us", "iso", "date")


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)


class Source(_Part):
    """Where the value of one field comes from, and how it is read.

    In TOML a plain string is the name of a column: `user = "customer_id"`.
    """

    column: str | None = None
    columns: tuple[str, ...] = ()
    """Several columns, joined; those without a value are left out."""
    constant: str | int | float | None = None
    join: str = "/"
    """Between `columns`. Where it stands within a value it becomes a space."""
    map: dict[str, str] = {}
    """Values to be replaced; others stay."""
    default: str | int | float | None = None
    """Where there is no value. Without a default, a row that must have one is refused."""
    format: str | None = None
    """Of a time: ms, s, us, iso, date, or a pattern as in strptime (`%d/%m/%Y`)."""
    scale: PositiveFloat = 1.0
    """Of a number: it is multiplied by this. A price in euros needs 100."""
    decimal: Literal[".", ","] = "."
    bands: tuple[float, ...] = ()
    """Edges that turn a number into one of a few texts: `<20`, `20-30`, `30+`."""
    between: tuple[float, float] | None = None
    """Numbers outside count as missing."""
    split: str | None = None
    """Between the values of a list that stands in one text."""

    @model_validator(mode="after")
    def _one_origin(self) -> "Source":
        given = (self.column is not None) + bool(self.columns) + (self.constant is not None)
        if given != 1:
            raise ValueError(f"wanted one of column, columns, constant; {given} are given")
        if any(low >= high for low, high in zip(self.bands, self.bands[1:], strict=False)):
            raise ValueError(f"bands must ascend; came {list(self.bands)}")
        if self.format and self.format not in TIME_FORMATS and "%" not in self.format:
            wanted = ", ".join(TIME_FORMATS)
            raise ValueError(f"format is {self.format!r}; wanted {wanted}, or a strptime pattern")
        return self

    @property
    def named(self) -> tuple[str, ...]:
        """The columns it reads."""
        return self.columns or ((self.column,) if self.column is not None else ())


def _column(value: object) -> object:
    return {"column": value} if isinstance(value, str) else value


def _kind(value: object) -> object:
    return {"constant": value} if isinstance(value, str) else value


From = Annotated[Source, BeforeValidator(_column)]
KindFrom = Annotated[Source, BeforeValidator(_kind)]


class ListingsPart(_Part):
    """Each row of a table gives a `listed` event; or each listing first named in the events."""

    table: Literal["listings", "events"] = Field("listings", alias="from")
    """`events`: there is no table of listings; the first row that names one describes it."""
    listed: Literal["listed_at", "beginning"] = "listed_at"
    """When it was listed: at the time in `listed_at`, or all at the time of the first event."""
    where: dict[str, tuple[str, ...]] = {}
    """{column: values}: other rows are not listings."""
    listing_id: From
    seller: From
    title: From | None = None
    description: From | None = None
    hashtags: From | None = None
    category: From | None = None
    brand: From | None = None
    size: From | None = None
    colour: From | None = None
    condition: From | None = None
    material: From | None = None
    price: From | None = None
    currency: From | None = None
    country: From | None = None
    image: From | None = None
    photos: From | None = None
    listed_at: From | None = None
    sold_at: From | None = None
    """Where there is a time, a `sold` event follows."""

    @model_validator(mode="after")
    def _dated(self) -> "ListingsPart":
        if self.listed == "listed_at" and self.listed_at is None:
            raise ValueError(
                "listed_at is missing: name the column with the time of listing "
                '(for a table of events, of the event), or say listed = "beginning"'
            )
        return self


class EventsPart(_Part):
    """Each row gives one event. Several parts give several events a row."""

    where: dict[str, tuple[str, ...]] = {}
    """{column: values}: other rows give no event of this part."""
    kind: KindFrom
    """A kind, or {column, map}."""
    t: From
    event_id: From | None = None
    """Unique over all parts; without it an id is made of the row's content."""
    user: From | None = None
    session: From | None = None
    surface: From | None = None
    text: From | None = None
    slate: From | None = None
    listing: From | None = None
    listings: From | None = None
    positions: From | None = None
    position: From | None = None
    seller: From | None = None
    price: From | None = None
    currency: From | None = None

    @model_validator(mode="after")
    def _known_kind(self) -> "EventsPart":
        if (text := self.kind.constant) is None:
            return self
        if text not in set(Kind):
            near = _nearest(str(text), [kind.value for kind in Kind])
            raise ValueError(f"kind is {text!r}{near}; wanted one of {', '.join(Kind)}")
        kind = Kind(str(text))
        if kind in STOCK_KINDS | LISTING_KINDS and self.listing is None:
            raise ValueError(f"a {kind} event needs `listing`")
        if kind in (Kind.LISTED, Kind.EDITED):
            raise ValueError(f"a {kind} event carries a whole listing: give it in [listings]")
        if kind is Kind.IMPRESSION and self.listings is None:
            raise ValueError("an impression event needs `listings`")
        if kind not in STOCK_KINDS | {Kind.IMPRESSION} and not (self.user or self.session):
            raise ValueError(f"a {kind} event needs `user` or `session`")
        return self


class Mapping(_Part):
    """A mapping.toml."""

    timezone: str = "UTC"
    """Of times and days that name none."""
    currency: str = Field("EUR", pattern="^[A-Z]{3}$")
    """Of prices whose part names none."""
    delimiter: str | None = Field(None, min_length=1, max_length=1)
    """Of CSV; the default is a comma, or a tab for .tsv."""
    listings: ListingsPart | None = None
    events: tuple[EventsPart, ...] = ()
    declared: Annotated[dict[str, From], Field(max_length=MAX_DECLARED)] = {}
    """Attributes that the person or query declares, on each event. Nothing that is only known
    afterwards may stand here."""

    @model_validator(mode="after")
    def _whole(self) -> "Mapping":
        if self.listings is None and not self.events:
            raise ValueError("wanted [listings] or [[events]] or both; there is none")
        if self.timezone not in zoneinfo.available_timezones():
            near = _nearest(self.timezone, sorted(zoneinfo.available_timezones()))
            raise ValueError(
                f"timezone is {self.timezone!r}{near}; wanted a name as Europe/Vilnius"
            )
        return self


def load_mapping(
    path: Path, *, listings: Path | None = None, events: Path | None = None
) -> Mapping:
    """A mapping, checked; against the columns of the tables too, where they are given.

    Raises:
        ConfigError: with all that is wrong.
        InputError: a table cannot be read.
    """
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(str(path), ["there is no such file"]) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(str(path), [f"not TOML: {error}"]) from None
    problems, mapping = [], None
    try:
        mapping = Mapping.model_validate(content)
    except ValidationError as error:
        problems = [_sentence(problem) for problem in error.errors(include_url=False)]
    delimiter = content.get("delimiter")
    problems += _problems_of_columns(
        content,
        _schema(listings, delimiter),
        _schema(events, delimiter),
    )
    if problems or mapping is None:
        raise ConfigError(str(path), list(dict.fromkeys(problems)))
    return mapping


def check_columns(mapping: Mapping, *, listings: Path | None, events: Path | None) -> None:
    """Refuse a mapping that does not fit the tables.

    Raises:
        ConfigError: with all that does not fit.
        InputError: a table cannot be read.
    """
    problems = _problems_of_columns(
        mapping.model_dump(by_alias=True, exclude_defaults=True, exclude_none=True),
        _schema(listings, mapping.delimiter),
        _schema(events, mapping.delimiter),
    )
    if mapping.listings and mapping.listings.table == "listings" and not listings and not events:
        problems.append("[listings] needs a table of listings; give --listings")
    if mapping.events and not events:
        problems.append("[[events]] needs a table of events; give --events")
    if mapping.listings and mapping.listings.table == "events" and not events:
        problems.append('[listings] from = "events" needs a table of events; give --events')
    if mapping.listings and mapping.listings.listed == "beginning" and not mapping.events:
        problems.append('[listings] listed = "beginning" needs [[events]], whose first is meant')
    if problems:
        raise ConfigError("mapping", problems)


Schema = Dict[str, pl.DataType]


def by_own_names(listings: Path) -> Mapping:
    """The mapping of a table of listings whose columns bear our fields' names.

    `price` is in whole units of currency; `listed_at` a time, a text as in ISO 8601, or ms.

    Raises:
        ConfigError: if the columns that every listing needs are not among them.
        InputError: the table cannot be read.
    """
    table = files.schema(listings)
    part: dict[str, Any] = {name: name for name in ListingsPart.model_fields if name in table}
    if "price" in part:
        part["price"] = {"column": "price", "scale": 100}
    for name in ("listed_at", "sold_at"):
        if name in part and not table[name].is_temporal():
            how = "ms" if table[name].is_integer() else "iso"
            part[name] = {"column": name, "format": how}
    lacking = [name for name in ("listing_id", "seller", "listed_at") if name not in part]
    if lacking:
        raise ConfigError(
            str(listings),
            [
                f"no column named {', '.join(lacking)}; there are {', '.join(table)}. "
                "Say which column is which in a mapping (docs/mapping.md), or rename them"
            ],
        )
    return Mapping.model_validate({"listings": part})


def _schema(path: Path | None, delimiter: str | None) -> Schema | None:
    return None if path is None else files.schema(path, delimiter=delimiter)


def _problems_of_columns(
    content: Dict[str, Any], listings: Schema | None, events: Schema | None
) -> list[str]:
    """What is wrong with the columns that a mapping names, also in a mapping wrong otherwise."""
    problems: list[str] = []
    part = content.get("listings")
    if isinstance(part, dict):
        table = events if part.get("from") == "events" else listings
        problems += _problems_of_part("listings", part, table)
    parts = content.get("events", ())
    for i, part in enumerate(parts if isinstance(parts, list | tuple) else ()):
        if isinstance(part, dict):
            problems += _problems_of_part(f"events.{i}", part, events)
    declared = content.get("declared")
    if isinstance(declared, dict):
        problems += _problems_of_part("declared", declared, events)
    return problems


_NO_SOURCES = {"from", "listed", "where"}


def _problems_of_part(place: str, part: Dict[str, Any], table: Schema | None) -> Iterator[str]:
    if table is None:
        return
    for column in part["where"] if isinstance(part.get("where"), dict) else ():
        if column not in table:
            yield f"{place}.where: there is no column {column!r}{_nearest(column, list(table))}"
    for field, source in part.items():
        if field in _NO_SOURCES or (field == "kind" and isinstance(source, str)):
            continue
        source = {"column": source} if isinstance(source, str) else source  # noqa: PLW2901
        if not isinstance(source, dict):
            continue
        columns = [source.get("column"), *(source.get("columns") or ())]
        for column in columns:
            if isinstance(column, str) and column not in table:
                near = _nearest(column, list(table))
                yield f"{place}.{field}: there is no column {column!r}{near}"
        first = table.get(columns[0]) if isinstance(columns[0], str) else None
        time = field in ("t", "listed_at", "sold_at")
        if time and first is not None and not first.is_temporal() and not source.get("format"):
            yield f"{place}.{field}: say its format ({', '.join(TIME_FORMATS)} or a pattern)"


def _nearest(text: str, known: list[str]) -> str:
    near = difflib.get_close_matches(text, known, 1)
    return f"; did you mean {near[0]!r}?" if near else f"; there are {', '.join(known)}"[:300]


def _sentence(problem: ErrorDetails) -> str:
    place = ".".join(str(step) for step in problem["loc"]) or "mapping"
    if problem["type"] == "missing":
        return f"{place}: is missing"
    if problem["type"] == "extra_forbidden":
        return f"{place}: there is no such key{_nearest(str(problem['loc'][-1]), _keys(problem))}"
    if problem["type"] == "value_error":
        return f"{place}: {problem['msg'].removeprefix('Value error, ')}"
    return f"{place}: {problem['msg']}; came {problem['input']!r}"[:300]


def _keys(problem: ErrorDetails) -> list[str]:
    """The keys that may stand where an unknown one stands."""
    place = str(problem["loc"][0])
    parts: dict[str, tuple[type[BaseModel], int]] = {
        "listings": (ListingsPart, 2),
        "events": (EventsPart, 3),
        "declared": (Source, 3),
    }
    part, depth = parts.get(place, (Mapping, 1))
    if len(problem["loc"]) == 1:
        part = Mapping
    elif len(problem["loc"]) > depth:
        part = Source
    return [field.alias or name for name, field in part.model_fields.items()]
