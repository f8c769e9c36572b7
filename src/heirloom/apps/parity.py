"""Parity of a system: its slate records against its log, beside a server that runs or not."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from rich.console import Group, RenderableType
from rich.markup import escape
from rich.table import Table

from heirloom.adapters import bundle as bundles
from heirloom.adapters import slate_records
from heirloom.apps.encoding import encoders_in
from heirloom.apps.parts import empty_live, open_log
from heirloom.apps.photos import PhotoStore
from heirloom.apps.registry import Registry
from heirloom.apps.settings import Settings
from heirloom.core.errors import NotFoundError
from heirloom.core.slate import SlateRecord
from heirloom.encoders.pair import Encoders
from heirloom.pipelines.parity import FeatureParity, Parity, Progress, compare, drawn

HOUR_MS = 3_600_000


def check(
    settings: Settings,
    *,
    registry: Registry | None = None,
    share: float = 1.0,
    limit: int = 100_000,
    since_ms: int = 0,
    progress: Progress = lambda *_: None,
) -> Parity:
    """Compare what was served with a replay of the log, as `pipelines.parity.compare` does.

    It only reads, so that it may run beside the server.

    Raises:
        NotFoundError: there is nothing to compare.
        StoreError: a file is damaged.
        InputError: a share or limit that draws nothing.
    """
    folder = settings.system.folder
    # Records first: what they say was served stands in the log by then.
    records = drawn(slate_records.read(folder / "slates", since_ms=since_ms), share, limit)
    if not records:
        raise NotFoundError(
            f"parity: no slate record under {folder / 'slates'} to compare; serve some slates "
            "first, draw a larger --sample, or begin with an earlier --since"
        )
    with open_log(folder, read_only=True) as log:
        found = Parity()
        for encoders, served in _by_encoders(records, settings, found):
            live = empty_live(
                settings,
                registry or Registry.installed(),
                log,
                encoders=encoders,
                retrievers=False,
            )
            found.add(compare(served, log, live, progress=progress))
    if not found.slates and not found.broken:
        left = (found.unpromised + found.untold).items()
        why = "; ".join(f"{count} {reason}" for reason, count in left)
        raise NotFoundError(f"parity: nothing to compare in {len(records)} records: {why}")
    return found


def _by_encoders(
    records: Sequence[SlateRecord], settings: Settings, found: Parity
) -> Iterator[tuple[Encoders, list[SlateRecord]]]:
    """Records by the encoders of the bundle that served them.

    Of a bundle that is gone nobody knows which vectors it served with: its records are untold.
    """
    folder, photos = settings.system.folder, PhotoStore.of(settings)
    of_bundle: dict[str, Encoders | None] = {}
    for bundle in dict.fromkeys(record.bundle for record in records):
        at = bundles.named(folder / "bundles", bundle) if bundle else None
        there = at is None or at.is_dir()
        of_bundle[bundle] = encoders_in(at, settings, photos) if there else None
    by_model: dict[str, tuple[Encoders, list[SlateRecord]]] = {}
    for record in records:
        encoders = of_bundle[record.bundle]
        if encoders is None:
            found.untold[_gone(record.bundle, folder)] += 1
        else:
            by_model.setdefault(encoders.model_id, (encoders, []))[1].append(record)
    yield from by_model.values()


def _gone(bundle: str, folder: Path) -> str:
    return (
        f"served with bundle {bundle}, which is gone; put its folder back under "
        f"{folder / 'bundles'}, or compare later slates with --since"
    )


def report(found: Parity, folder: Path) -> RenderableType:
    """What a person reads: features that differ, or that none does; and what is not promised."""
    rows = [(name, feature) for name, feature in found.features.items() if not feature.holds]
    compared = sum(feature.compared for feature in found.features.values())
    verdict = "[bold green]parity holds[/]" if found.holds else "[bold red]parity does not hold[/]"
    if found.holds and found.untold:
        verdict += " for what can be compared"
    lines: list[RenderableType] = [
        f"{verdict}: {compared:,} values of {len(found.features)} features, {found.rows:,} rows, "
        f"{found.slates:,} slates, replayed to offset {found.to_n:,} of {folder}"
    ]
    if rows:
        lines.append(_table(rows))
    lines += [f"[red]{count:,} slates[/]: {why}" for why, count in found.broken.items()]
    lines += [f"not compared: {count:,} slates: {why}" for why, count in found.unpromised.items()]
    lines += [
        f"[yellow]cannot tell: {count:,} slates[/]: {escape(why)}"
        for why, count in found.untold.items()
    ]
    age = found.summary()["not_promised"]["age_ms"]
    ages = ", ".join(f"{name} {value / HOUR_MS:.3f} h" for name, value in age.items())
    lines.append(
        f"not promised: age of state {ages or 'unknown'}; {found.late:,} late counts dropped"
    )
    return Group(*lines)


def _table(rows: list[tuple[str, FeatureParity]]) -> Table:
    table = Table(title="features that differ", title_justify="left")
    table.add_column("feature", overflow="fold")
    columns: dict[str, Callable[[FeatureParity], str]] = {
        "compared": lambda one: f"{one.compared:,}",
        "mismatch": lambda one: f"{one.mismatched:,}",
        "missing": lambda one: f"{one.missing:,}",
        "extra": lambda one: f"{one.extra:,}",
        "one is NaN": lambda one: f"{one.nan:,}",
        "|delta|": lambda one: " ".join(f"{k} {v:.3g}" for k, v in one.quantiles().items()),
        "first": _first,
    }
    for heading in columns:
        table.add_column(heading, overflow="fold")
    for name, feature in rows:
        table.add_row(name, *(say(feature) for say in columns.values()))
    return table


def _first(feature: FeatureParity) -> str:
    first = feature.first
    if first is None:
        return ""
    return (
        f"slate {first.slate_id}, listing {first.listing}, n {first.n}: "
        f"served {first.served:.9g}, replayed {first.replayed:.9g}"
    )
