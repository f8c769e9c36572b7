"""Typed: the columns of a batch as a mapping reads them, and what is wrong with each row."""

import itertools
from collections.abc import Callable
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import msgspec
import numpy as np
import polars as pl

from heirloom.apps.mapping import Source
from heirloom.core.log import Rejected

MAX_RAW_BYTES = 64 << 10
_PER_SECOND = {"s": 1, "ms": 1_000, "us": 1_000_000}


class Typed:
    """One batch of rows. Each method reads one field as a column [rows]; null is no value.

    A value that cannot be read refuses its row, with the first such reason.
    """

    def __init__(self, file: str, frame: pl.DataFrame, lines: list[int], timezone: str) -> None:
        self._file = file
        self._frame = frame
        self._timezone = timezone
        self._reasons: dict[int, str] = {}
        self._kept = np.ones(len(frame), np.bool_)
        self.lines = pl.Series("#line", lines, pl.Int64)

    def again(self) -> "Typed":
        """The same rows, as if nothing had been read yet."""
        return Typed(self._file, self._frame, self.lines.to_list(), self._timezone)

    def keep(self, where: dict[str, tuple[str, ...]]) -> None:
        """Only rows with one of these values in each of these columns are meant."""
        for column, values in where.items():
            self._kept &= self._text_of(column).is_in(list(values)).fill_null(False).to_numpy()

    def nothing(self, dtype: type[pl.DataType]) -> pl.Series:
        """No value in any row."""
        return pl.Series([None] * len(self._frame), dtype=dtype)

    def text(self, field: str, source: Source, *, required: bool = False) -> pl.Series:
        """[rows] text without blanks around it; a whole number has no decimals."""
        value = self._origin(source)
        if source.map:
            value = value.replace(source.map).replace("", None)
        if source.default is not None:
            value = value.fill_null(_plain(source.default))
        if required:
            self._refuse(value.is_null(), lambda _: f"{field} is empty")
        return value

    def number(self, field: str, source: Source) -> pl.Series:
        """[rows] float64, scaled; those outside `between` are no values."""
        text = self.text(field, source)
        plain = text.str.replace(",", ".", literal=True) if source.decimal == "," else text
        value = plain.cast(pl.Float64, strict=False)
        bad = text.is_not_null() & ~value.is_finite().fill_null(False)
        self._refuse(bad, lambda row: f"{field}: {text[row]!r:.80} is no number")
        if source.between is not None:
            inside = value.is_between(*source.between).fill_null(False)
            value = pl.select(pl.when(inside).then(value)).to_series()
        return value * source.scale

    def whole(self, field: str, source: Source) -> pl.Series:
        """[rows] int64, the number rounded."""
        value = self.number(field, source)
        far = value.abs().fill_null(0) > 2.0**53
        self._refuse(far, lambda row: f"{field}: {value[row]} is too large")
        return value.round(0).cast(pl.Int64, strict=False)

    def label(self, field: str, source: Source) -> pl.Series:
        """[rows] text; a number in bands is the text of its band."""
        if not source.bands:
            if source.between is None:  # 38.0 and 38 are one size
                return self.text(field, source).str.replace(r"^(-?\d+)\.0+$", "$1")
            return _numbers_as_text(self.number(field, source))
        value = self.number(field, source)
        edges = [f"{edge:g}" for edge in source.bands]
        labels = [f"<{edges[0]}"]
        labels += [f"{low}-{high}" for low, high in itertools.pairwise(edges)]
        labels += [f"{edges[-1]}+"]
        bands = np.searchsorted(source.bands, value.fill_null(0.0).to_numpy(), side="right")
        texts = pl.Series([labels[band] for band in bands], dtype=pl.String)
        return pl.select(pl.when(value.is_not_null()).then(texts)).to_series()

    def texts(self, field: str, source: Source) -> pl.Series:
        """[rows] lists of text."""
        if source.column is not None and isinstance(self._frame.schema.get(source.column), pl.List):
            return self._frame[source.column].cast(pl.List(pl.String))
        text = self.text(field, source)
        if source.split is None:
            return text.reshape((-1, 1)).cast(pl.List(pl.String)) if len(text) else text
        parts = text.str.split(source.split)
        trimmed = parts.list.eval(pl.element().str.strip_chars())
        return trimmed.list.eval(pl.element().filter(pl.element() != ""))

    def wholes(self, field: str, source: Source) -> pl.Series:
        """[rows] lists of int64."""
        texts = self.texts(field, source)
        value = texts.cast(pl.List(pl.Int64), strict=False)
        bad = value.list.eval(pl.element().is_null()).list.any().fill_null(False)
        self._refuse(bad, lambda row: f"{field}: {list(texts[row])!r:.80} are no whole numbers")
        return value

    def time(self, field: str, source: Source, *, required: bool = False) -> pl.Series:
        """[rows] int64, ms since 1970 UTC."""
        dtype = None if source.column is None else self._frame.schema.get(source.column)
        if source.column is not None and isinstance(dtype, pl.Date | pl.Datetime):
            value = self._milliseconds(self._frame[source.column], dtype)
            if source.default is not None:
                value = value.fill_null(_parse(str(source.default), "iso", self._timezone))
        else:
            text = self.text(field, source)
            known = {
                one: _parse(one, source.format or "iso", self._timezone)
                for one in text.drop_nulls().unique().to_list()
            }
            value = pl.Series([None if one is None else known[one] for one in text], dtype=pl.Int64)
            wanted = source.format or "iso"
            self._refuse(
                text.is_not_null() & value.is_null(),
                lambda row: f"{field}: {text[row]!r:.80} is no time; wanted {wanted}",
            )
        if required:
            self._refuse(value.is_null(), lambda _: f"{field} is empty")
        return value

    def sorted_out(self, columns: dict[str, pl.Series]) -> tuple[pl.DataFrame, list[Rejected]]:
        """The rows that are meant and could be read, and those that could not."""
        rejected = [
            Rejected(
                raw=_raw(self._frame.row(row, named=True)),
                reason=reason,
                source=f"{self._file}:{self.lines[row]}",
                at=0,
            )
            for row, reason in sorted(self._reasons.items())
            if self._kept[row]
        ]
        good = self._kept.copy()
        good[list(self._reasons)] = False
        frame = pl.DataFrame([column.alias(name) for name, column in columns.items()])
        return frame.filter(pl.Series(good)), rejected

    def _refuse(self, bad: pl.Series, reason: Callable[[int], str]) -> None:
        for row in np.flatnonzero(bad.to_numpy()):
            self._reasons.setdefault(int(row), reason(int(row)))

    def _origin(self, source: Source) -> pl.Series:
        if source.constant is not None:
            return pl.Series([_plain(source.constant)] * len(self._frame), dtype=pl.String)
        parts = [self._text_of(column) for column in source.named]
        if len(parts) == 1:
            return parts[0]
        if source.join.strip():
            parts = [part.str.replace_all(source.join, " ", literal=True) for part in parts]
        joined = pl.select(pl.concat_str(parts, separator=source.join, ignore_nulls=True))
        return joined.to_series().replace("", None)

    def _text_of(self, column: str) -> pl.Series:
        if column not in self._frame.columns:  # JSONL: no row of this batch has it
            return self.nothing(pl.String)
        value = self._frame[column]
        if value.dtype.is_float():
            return _numbers_as_text(value)
        if isinstance(value.dtype, pl.List):
            value = value.cast(pl.List(pl.String)).list.join(" ")
        return value.cast(pl.String).str.strip_chars().replace("", None)

    def _milliseconds(self, value: pl.Series, dtype: pl.DataType) -> pl.Series:
        moment = value.cast(pl.Datetime("ms", getattr(dtype, "time_zone", None)))
        if getattr(dtype, "time_zone", None) is None:
            moment = moment.dt.replace_time_zone(
                self._timezone, ambiguous="earliest", non_existent="null"
            )
        return moment.dt.epoch("ms")


def _numbers_as_text(value: pl.Series) -> pl.Series:
    whole = value.round(0).cast(pl.Int64, strict=False)
    return pl.select(
        pl.when(value == whole.cast(pl.Float64))
        .then(whole.cast(pl.String))
        .when(value.is_not_nan())
        .then(value.cast(pl.String))
    ).to_series()


def _plain(value: str | float) -> str:
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def _parse(text: str, form: str, timezone: str) -> int | None:
    """Ms since 1970 UTC; None if it is no such time.

    >>> _parse("2021-03-04", "date", "UTC"), _parse("2021-03-04T01:00:00+01:00", "iso", "UTC")
    (1614816000000, 1614816000000)
    >>> _parse("1614816000", "s", "UTC"), _parse("04.03.2021", "%d.%m.%Y", "Europe/Vilnius")
    (1614816000000, 1614808800000)
    """
    try:
        if form in _PER_SECOND:
            return round(float(text) * 1_000 / _PER_SECOND[form])
        if "%" in form:
            moment = datetime.strptime(text, form)
        elif form == "date" and len(text) != 10:
            return None
        else:
            moment = datetime.fromisoformat(text)
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=ZoneInfo(timezone))
        since = moment.astimezone(UTC) - datetime(1970, 1, 1, tzinfo=UTC)
    except (ValueError, OverflowError):
        return None
    return since.days * 86_400_000 + since.seconds * 1_000 + since.microseconds // 1_000


def _raw(row: dict[str, object]) -> bytes:
    return msgspec.json.encode(row, enc_hook=str)[:MAX_RAW_BYTES]
