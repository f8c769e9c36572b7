"""Feast: a repository of one feature view over Parquet, as `feast apply` takes it.

    DIR/feature_store.yaml                       duckdb offline, sqlite online, registry in data/
    DIR/features.py                              entities, source, feature view
    DIR/data/marketplace_1a2b3c4d.parquet        the view: one row per (listing, person, time)
    DIR/data/entities.parquet                    what to join it to: the same rows, with labels

Feast itself is not imported. Its names hold no `@` and no `.`: `marketplace@1a2b3c4d.price` is
`marketplace_1a2b3c4d:price` there, and `column` finds the way back.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from heirloom.core.errors import ConfigError, InputError, SchemaError, StoreError
from heirloom.core.slate import FeatureBatch

KEYS = ("listing", "person", "event_timestamp", "created")
"""Columns of the view's file that are no features."""

_COLUMN = re.compile(r"([a-z][a-z0-9_]*)@([0-9a-f]+)\.([a-z][a-z0-9_]*)")
_REFERENCE = re.compile(r"([a-z][a-z0-9_]*)_([0-9a-f]+):([a-z][a-z0-9_]*)")
_TIME = pa.timestamp("ms", tz="UTC")
_GROUP_ROWS = 65_536
_ENTITIES = pa.schema(
    [
        pa.field("listing", pa.string()),
        pa.field("person", pa.string()),
        pa.field("event_timestamp", _TIME),
        pa.field("n", pa.int64()),
        pa.field("slate", pa.string()),
        pa.field("surface", pa.string()),
        pa.field("position", pa.int16()),
        pa.field("gain", pa.float32()),
    ]
)


def reference(column: str) -> str:
    """Feast's name of a column: `view:field`.

    Raises:
        SchemaError: it is not `view@version.feature`.

    >>> reference("marketplace@1a2b3c4d.listing_seen_24h")
    'marketplace_1a2b3c4d:listing_seen_24h'
    """
    found = _COLUMN.fullmatch(column)
    if found is None:
        raise SchemaError(f"feast: column {column!r}; wanted view@version.feature")
    return f"{found[1]}_{found[2]}:{found[3]}"


def column(reference: str) -> str:
    """The column that Feast knows by this name.

    Raises:
        SchemaError: it is no name that `reference` gives.

    >>> column("marketplace_1a2b3c4d:listing_seen_24h")
    'marketplace@1a2b3c4d.listing_seen_24h'
    """
    found = _REFERENCE.fullmatch(reference)
    if found is None:
        raise SchemaError(f"feast: {reference!r}; wanted view_version:feature")
    return f"{found[1]}@{found[2]}.{found[3]}"


class Rows(Protocol):
    """The listings of one impression; pipelines.training_rows says what each field holds."""

    @property
    def listings(self) -> tuple[str, ...]: ...  # noqa: D102
    @property
    def person(self) -> str: ...  # noqa: D102
    @property
    def t(self) -> int: ...  # noqa: D102
    @property
    def created(self) -> int: ...  # noqa: D102
    @property
    def slate(self) -> str: ...  # noqa: D102
    @property
    def surface(self) -> str: ...  # noqa: D102
    @property
    def positions(self) -> NDArray[np.int16]: ...  # noqa: D102
    @property
    def gains(self) -> NDArray[np.float32]: ...  # noqa: D102
    @property
    def batch(self) -> FeatureBatch: ...  # noqa: D102


@dataclass(frozen=True, slots=True)
class ExportedFeature:
    """What a Feast user is told of a column: its name here, what it is for, and tags."""

    column: str
    about: str
    tags: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ExportedView:
    """What a Feast user is told of a view. All columns are of one `view@version`."""

    features: Sequence[ExportedFeature]
    owner: str = ""
    about: str = ""
    tags: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        views = {each.column.partition(".")[0] for each in self.features}
        problems = [] if len(views) == 1 else [f"columns of {sorted(views)}; wanted one view"]
        problems += [
            f"feature {name!r} has the name of a key column; rename it"
            for name in (each.column.partition(".")[2] for each in self.features)
            if name in KEYS
        ]
        if problems:
            raise ConfigError("feast repository", problems)

    @property
    def name(self) -> str:
        """The view's name in Feast."""
        return reference(self.features[0].column).partition(":")[0]

    @property
    def fields(self) -> list[str]:
        """The features' names in Feast, in order."""
        return [reference(each.column).partition(":")[2] for each in self.features]


def write(folder: Path, view: ExportedView, rows: Iterable[Rows]) -> int:
    """Write a repository, whole or not at all; how many rows it holds.

    Args:
        folder: made here; it must not be there, or be empty.
        view: whose columns the rows have.
        rows: in any order.

    Raises:
        InputError: the folder is in use.
        SchemaError: rows have other columns than the view.
        StoreError: the disk refuses.
    """
    folder = folder.absolute()
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InputError(f"{folder} is in use; name a folder that is new or empty")
    draft = folder.with_name(f".{folder.name}.unfinished")
    if draft.exists():
        raise InputError(
            f"{draft} is what an export left that broke off, or one that runs; "
            "delete it if none runs, and start again"
        )
    try:
        (draft / "data").mkdir(parents=True)
        count = _write_tables(draft / "data", view, rows)
        (draft / "feature_store.yaml").write_text(_SETTINGS, encoding="utf-8")
        (draft / "features.py").write_text(_definitions(view), encoding="utf-8")
        draft.replace(folder)
    except OSError as error:
        raise StoreError(
            f"{folder} cannot be written: {error}; see to the disk or name another folder, and "
            f"delete {draft} if it is there"
        ) from error
    return count


def _write_tables(folder: Path, view: ExportedView, rows: Iterable[Rows]) -> int:
    columns = tuple(each.column for each in view.features)
    schema = pa.schema(
        [
            pa.field("listing", pa.string()),
            pa.field("person", pa.string()),
            pa.field("event_timestamp", _TIME),
            pa.field("created", _TIME),
            *(pa.field(name, pa.float32()) for name in view.fields),
        ]
    )
    count, pending, waiting = 0, [], 0
    with (
        pq.ParquetWriter(folder / f"{view.name}.parquet", schema, compression="zstd") as values,
        pq.ParquetWriter(folder / "entities.parquet", _ENTITIES, compression="zstd") as entities,
    ):
        for part in rows:
            if part.batch.columns != columns:
                raise SchemaError(
                    f"feast: rows of slate {part.slate!r} have the columns "
                    f"{part.batch.columns[:3]} …; wanted {columns[:3]} …"
                )
            pending.append(part)
            waiting += len(part.listings)
            if waiting >= _GROUP_ROWS:
                _write_group(values, schema, entities, pending)
                count, pending, waiting = count + waiting, [], 0
        _write_group(values, schema, entities, pending)
    return count + waiting


def _write_group(values: Any, schema: Any, entities: Any, parts: Sequence[Rows]) -> None:
    if not parts:
        return
    sizes = [len(part.listings) for part in parts]

    def of_each(items: Sequence[object]) -> list[object]:
        return [item for item, size in zip(items, sizes, strict=True) for _ in range(size)]

    listings = [listing for part in parts for listing in part.listings]
    persons = of_each([part.person for part in parts])
    times = pa.array(of_each([part.t for part in parts]), pa.int64()).cast(_TIME)
    created = pa.array(of_each([part.created for part in parts]), pa.int64()).cast(_TIME)
    matrix = np.concatenate([part.batch.values for part in parts])
    features = [pa.array(np.ascontiguousarray(row)) for row in matrix.T]
    values.write_table(pa.table([listings, persons, times, created, *features], schema=schema))
    rest = [
        of_each([part.batch.n for part in parts]),
        of_each([part.slate for part in parts]),
        of_each([part.surface for part in parts]),
        np.concatenate([part.positions for part in parts]),
        np.concatenate([part.gains for part in parts]),
    ]
    entities.write_table(pa.table([listings, persons, times, *rest], schema=_ENTITIES))


_SETTINGS = """\
project: heirloom
provider: local
registry: data/registry.db
offline_store:
  type: duckdb
online_store:
  type: sqlite
  path: data/online_store.db
entity_key_serialization_version: 3
"""


def _definitions(view: ExportedView) -> str:
    features = "".join(
        f"        Field(\n"
        f"            name={name!r},\n"
        f"            dtype=Float32,\n"
        f"            description={each.about!r},\n"
        f"            tags={ {'column': each.column, **each.tags}!r},\n"
        f"        ),\n"
        for name, each in zip(view.fields, view.features, strict=True)
    )
    tags = {"view": view.features[0].column.partition(".")[0], **view.tags}
    return _TEMPLATE.format(
        name=view.name,
        file=f"{view.name}.parquet",
        features=features,
        owner=view.owner,
        about=view.about,
        tags=tags,
    )


_TEMPLATE = '''\
"""Training rows of a heirloom log, made by `heirloom export feast`.

    feast apply
    store = FeatureStore(".")
    rows = pandas.read_parquet("data/entities.parquet")
    store.get_historical_features(rows, [f"{name}:{{field.name}}" for field in view.features])
"""

from datetime import timedelta
from pathlib import Path

from feast import Entity, FeatureView, Field, FileSource
from feast.types import Float32
from feast.value_type import ValueType

listing = Entity(name="listing", join_keys=["listing"], value_type=ValueType.STRING)
person = Entity(
    name="person",
    join_keys=["person"],
    value_type=ValueType.STRING,
    description="A random token; 'session:...' for a session without one, '' for nobody known.",
)

source = FileSource(
    name={name!r},
    path=str(Path(__file__).parent / "data" / {file!r}),
    timestamp_field="event_timestamp",
    created_timestamp_column="created",
)

view = FeatureView(
    name={name!r},
    entities=[listing, person],
    schema=[
{features}    ],
    source=source,
    # A value holds for the moment of its impression; a minute later its windows have moved on.
    ttl=timedelta(seconds=1),
    # Finished values freeze between two pushes: serve from the state, by `heirloom serve`.
    online=False,
    owner={owner!r},
    description={about!r},
    tags={tags!r},
)
'''
