"""A file of people, read as a stream: Parquet, CSV or TSV with a header, or one id a line."""

import csv
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from heirloom.core.errors import InputError

NAMES = ("person", "user", "user_id", "person_id")
"""What the column is called, unless another is named."""
MAX_ID = 256
"""Characters of an id, as at the HTTP door."""
_SEPARATORS = {".csv": ",", ".tsv": "\t"}


@dataclass(frozen=True, slots=True)
class PeopleFile:
    """A file of people that was read once, and found good.

    Attributes:
        path: where it is.
        column: which one holds the ids; None: the first of NAMES.
        sha256: of its bytes.
        persons: how many different people stand in it.
        repeated: int64, ascending: which of its ids, counted from 0, stood there before.
    """

    path: Path
    column: str | None
    sha256: str
    persons: int
    repeated: NDArray[np.int64]

    @classmethod
    def surveyed(cls, path: Path, column: str | None = None) -> "PeopleFile":
        """Read it to its end, in memory of 8 bytes a person.

        Raises:
            InputError: there is no such file, it holds nobody, or something else.
        """
        digest = _sha256(path)
        hashes = np.fromiter((_hash(person) for person in _ids(path, column)), np.uint64)
        if not len(hashes):
            raise InputError(f"{path}: nobody stands in it; wanted the ids of people")
        repeated = _repeated(path, column, hashes)
        return cls(path, column, digest, len(hashes) - len(repeated), repeated)

    def people(self) -> Iterator[str]:
        """Each person once, in the file's order.

        Raises:
            InputError: the file has changed since it was surveyed.
        """
        left_out, at = self.repeated.tolist(), 0
        for row, person in enumerate(_ids(self.path, self.column)):
            if at < len(left_out) and row == left_out[at]:
                at += 1
                continue
            yield person
        if _sha256(self.path) != self.sha256:
            raise InputError(
                f"{self.path}: it was changed while it was read; give the same file again, or "
                "begin another batch"
            )


def _hash(person: str) -> int:
    return int.from_bytes(hashlib.blake2b(person.encode(), digest_size=8).digest())


def _repeated(path: Path, column: str | None, hashes: NDArray[np.uint64]) -> NDArray[np.int64]:
    """Int64, ascending: rows whose id stood there before; found by hash, and then by id."""
    order = np.argsort(hashes, kind="stable")
    same = hashes[order][1:] == hashes[order][:-1]
    suspects = set(hashes[order][1:][same].tolist())
    if not suspects:
        return np.zeros(0, np.int64)
    seen: set[str] = set()
    found = []
    for row, person in enumerate(_ids(path, column)):
        if int(hashes[row]) in suspects:
            if person in seen:
                found.append(row)
            seen.add(person)
    return np.array(found, np.int64)


def _ids(path: Path, column: str | None) -> Iterator[str]:
    try:
        if path.suffix == ".parquet":
            rows = _of_parquet(path, column)
        elif path.suffix in _SEPARATORS:
            rows = _of_csv(path, column, _SEPARATORS[path.suffix])
        elif column is not None:
            raise InputError(f"{path}: one id a line has no column {column!r}; leave it out")
        else:
            rows = _of_lines(path)
        for where, person in rows:
            yield _checked(path, where, person)
    except FileNotFoundError:
        raise InputError(f"{path}: there is no such file") from None
    except OSError as error:
        raise InputError(f"{path}: it cannot be read: {error}") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not UTF-8: {error}") from error


def _of_lines(path: Path) -> Iterator[tuple[int, object]]:
    with path.open(encoding="utf-8-sig") as file:
        for line, text in enumerate(file, 1):
            if text.strip():
                yield line, text.strip()


def _of_csv(path: Path, column: str | None, separator: str) -> Iterator[tuple[int, object]]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        rows = csv.reader(file, delimiter=separator, strict=True)
        try:
            at = _column_in(path, next(rows, []), column)
            for row in rows:
                if row:
                    yield rows.line_num, row[at].strip() if at < len(row) else None
        except csv.Error as error:
            raise InputError(f"{path}: line {rows.line_num}: {error}") from error


def _of_parquet(path: Path, column: str | None) -> Iterator[tuple[int, object]]:
    try:
        with pq.ParquetFile(path) as file:
            name = file.schema_arrow.names[_column_in(path, file.schema_arrow.names, column)]
            row = 0
            for batch in file.iter_batches(8_192, columns=[name]):
                for person in batch.column(0).to_pylist():
                    row += 1
                    yield row, person
    except pa.ArrowException as error:
        raise InputError(f"{path}: no Parquet file: {str(error)[:200]}") from error


def _column_in(path: Path, names: list[str], column: str | None) -> int:
    wanted = NAMES if column is None else (column,)
    for name in wanted:
        if name in names:
            return names.index(name)
    found = ", ".join(names)[:200] or "none"
    raise InputError(
        f"{path}: no column {' or '.join(wanted)}; its columns are {found}; name one by --column"
    )


def _checked(path: Path, where: int, person: object) -> str:
    """A person's id; a whole number is one too."""
    if isinstance(person, int) and not isinstance(person, bool):
        person = str(person)
    if not isinstance(person, str) or not 0 < len(person) <= MAX_ID:
        raise InputError(
            f"{path}: row {where}: {person!r:.80} is no person's id; wanted 1 to {MAX_ID} "
            "characters, or a whole number"
        )
    return person


def _sha256(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except FileNotFoundError:
        raise InputError(f"{path}: there is no such file; wanted a file of people") from None
    except OSError as error:
        raise InputError(f"{path}: it cannot be read: {error}") from error
