"""`heirloom batch`: pages for a file of people, from one state of a system's folder.

It reads the log and the bundle only, so it runs beside the server.
"""

import hashlib
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import msgspec

from heirloom import __version__
from heirloom.adapters import bundle as bundles
from heirloom.adapters import published as publications
from heirloom.adapters.batch_files import BatchFolder, Totals
from heirloom.adapters.people_files import PeopleFile
from heirloom.adapters.sqlite import SqliteLog
from heirloom.apps.batch_workers import scored_by
from heirloom.apps.encoding import current_bundle, encoders_in
from heirloom.apps.kept import Kept
from heirloom.apps.learning import learned_in
from heirloom.apps.parts import empty_live, open_log, policy_of, view_of
from heirloom.apps.photos import PhotoStore
from heirloom.apps.registry import Registry
from heirloom.apps.settings import Settings
from heirloom.apps.weighing import guarded_weights
from heirloom.core.batch import Batch
from heirloom.core.errors import InputError, NotFoundError
from heirloom.pipelines.as_of import CutOff
from heirloom.pipelines.batch import Scorer, cut, score_part
from heirloom.pipelines.live import Live
from heirloom.pipelines.policy import Policy
from heirloom.pipelines.recovery import mark_of

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True, slots=True)
class Asked:
    """What a person asks of a batch.

    Attributes:
        people: the file.
        out: the folder.
        surface: home.
        column: of the file; None: person, user, user_id or person_id.
        k: listings of a page.
        at: log offset; None: the end, or where the batch was begun.
        bundle: its id; None: the one that is published.
        rows_per_part: people of a file.
        workers: processes.
    """

    people: Path
    out: Path
    surface: str = "home"
    column: str | None = None
    k: int = 24
    at: int | None = None
    bundle: str | None = None
    rows_per_part: int = 5_000
    workers: int = 1


@dataclass(frozen=True, slots=True)
class Made:
    """What became of a batch.

    Attributes:
        batch: what decided it.
        totals: of all its parts.
        scored: people whose pages were made by this call; others stood there.
        wall_s: of making them, without reading the log.
        cpu_s: of all processes, the same.
    """

    batch: Batch
    totals: Totals
    scored: int = 0
    wall_s: float = 0.0
    cpu_s: float = 0.0


def run(
    settings: Settings,
    asked: Asked,
    *,
    registry: Registry | None = None,
    progress: Progress = lambda *_: None,
    clock: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
) -> Made:
    """Make a batch, or go on with one that was killed.

    Raises:
        InputError: the file of people cannot be used; the folder holds another batch.
        NotFoundError: no log, or no such bundle.
        StoreError: the folder cannot be written, is in use, or a worker died.
        ConfigError: the policy, or the bundle does not fit it.
    """
    registry = registry or Registry.installed()
    people = PeopleFile.surveyed(asked.people, asked.column)
    folder = BatchFolder(asked.out)
    try:
        with open_log(settings.system.folder, read_only=True) as log:
            begun = folder.begun()
            batch = _batch(settings, registry, asked, people, log, begun, clock())
            if begun is None:
                folder.begin(batch)
            elif (totals := folder.finished(batch)) and folder.finish(batch, totals.anyone):
                return Made(batch, totals)
            folder.clear()
            policy, live = state_of(settings, registry, log, batch)
            return _made(folder, batch, people, Scorer(batch, policy, live), asked, progress)
    finally:
        folder.close()


def state_of(
    settings: Settings, registry: Registry, log: SqliteLog, batch: Batch
) -> tuple[Policy, Live]:
    """What answered at a batch's log offset: the log folded up to there, and no further.

    Features and vectors are folded here, whatever store or index the settings name for serving:
    those go on with the log.
    """
    bundle = _bundle_folder(settings, batch.bundle)
    encoders = encoders_in(bundle, settings, PhotoStore.of(settings))
    learned = learned_in(bundle)
    kept = Kept(settings.system.folder, CutOff(log, batch.n))
    try:
        live = kept.begun(
            lambda: empty_live(settings, registry, log, encoders=encoders, learned=learned)
        )
        live.replay(log.read(live.n, batch.n))
    finally:
        kept.close()
    policy = policy_of(settings, None, "")
    if bundle is not None:
        loaded = bundles.load(bundle, registry.rankers)
        weights = guarded_weights(settings, loaded.manifest)
        policy = policy_of(settings, loaded.ranker, loaded.bundle_id, weights)
    policy.check(live, publications.read(settings.system.folder))
    return policy, live


def _made(
    folder: BatchFolder,
    batch: Batch,
    people: PeopleFile,
    scorer: Scorer,
    asked: Asked,
    progress: Progress,
) -> Made:
    there = folder.done(batch)
    done = sum(part.persons for part in there.values())
    before = done
    progress("people", done, batch.persons)

    def tell(more: int) -> None:
        nonlocal done
        done += more
        progress("people", done, batch.persons)

    missing = (part for part in cut(people.people(), batch.rows_per_part) if part[0] not in there)
    anyone = scorer.anyone()  # before workers are forked: what it compiles they need not
    began = time.monotonic()
    cpu_s = scored_by(
        asked.workers,
        missing,
        lambda number, part, told: score_part(scorer, batch, number, part, folder.keep, told),
        tell,
        on_fork=folder.close,
    )
    wall_s = time.monotonic() - began
    totals = folder.finish(batch, anyone)
    return Made(batch, totals, done - before, wall_s, cpu_s)


def _batch(
    settings: Settings,
    registry: Registry,
    asked: Asked,
    people: PeopleFile,
    log: SqliteLog,
    begun: Batch | None,
    now_ms: int,
) -> Batch:
    """What is asked for, at the moment it was begun at.

    Raises:
        InputError: what was begun in the folder is another batch, or the log is shorter.
    """
    end = log.end()
    n = asked.at if asked.at is not None else begun.n if begun else end
    if not 0 < n <= end:
        raise InputError(f"batch: log offset {n}; the log in {log.path.parent} has 1 to {end}")
    current = current_bundle(settings.system.folder)
    batch = Batch(
        system=settings.system.name,
        surface=asked.surface,
        k=asked.k,
        t=begun.t if begun else now_ms,
        n=n,
        log=mark_of(log, n),
        policy=settings.policy.name,
        bundle=asked.bundle or (current.name if current else ""),
        settings=_settings_hash(settings, registry),
        people=people.sha256,
        persons=people.persons,
        rows_per_part=asked.rows_per_part,
        code_version=__version__,
    )
    if begun is not None and begun != batch:
        was, now = msgspec.structs.asdict(begun), msgspec.structs.asdict(batch)
        differ = [
            f"{name} was {was[name]}, now {now[name]}" for name in was if was[name] != now[name]
        ]
        raise InputError(
            f"{asked.out}: another batch was begun there: {'; '.join(differ)}. Ask for the same "
            "(--at, --bundle) to go on with it, or name a new folder"
        )
    return batch


def _settings_hash(settings: Settings, registry: Registry) -> str:
    view = view_of(settings, registry)
    parts = {
        "policy": settings.policy.model_dump(mode="json"),
        "search": settings.search.model_dump(mode="json"),
        "system": settings.system.model_dump(mode="json", exclude={"folder", "snapshot_every"}),
        "view": f"{view.name}@{view.version}",
    }
    encoded = msgspec.json.encode(parts, order="sorted")
    return hashlib.blake2b(encoded, digest_size=8).hexdigest()


def _bundle_folder(settings: Settings, bundle: str) -> Path | None:
    if not bundle:
        return None
    folder = bundles.named(settings.system.folder / "bundles", bundle)
    if not folder.is_dir():
        raise NotFoundError(
            f"no bundle {bundle!r} under {folder.parent}; run `heirloom train`, or name another "
            "by --bundle"
        )
    return folder
