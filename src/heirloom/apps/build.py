"""The only wiring: settings and registry into a running System."""

import dataclasses
import logging
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from heirloom.adapters import bundle as bundles
from heirloom.adapters import published as publications
from heirloom.adapters.anteroom import SqliteAnteroom
from heirloom.adapters.availability_file import AvailabilityFile
from heirloom.adapters.shared_index import SharedIndex
from heirloom.adapters.slate_records import ParquetRecords
from heirloom.adapters.write_behind import WriteBehind
from heirloom.apps.deadline import within
from heirloom.apps.encoding import (
    current_bundle,
    encoders_in,
)
from heirloom.apps.indexing import shared_index
from heirloom.apps.kept import Kept, ended
from heirloom.apps.learning import learned_in, teach
from heirloom.apps.parts import empty_live, open_log, policy_of, view_of
from heirloom.apps.photos import PhotoStore
from heirloom.apps.registry import Registry
from heirloom.apps.row_stores import FoldedLog, check_reader, row_store
from heirloom.apps.settings import Settings
from heirloom.apps.shop import Freshness
from heirloom.apps.training import Training
from heirloom.apps.weighing import (
    Weights,
    guarded_weights,
)
from heirloom.core.bundle import ModelBundle
from heirloom.core.errors import HeirloomError, InputError, MismatchError, NotFoundError, StoreError
from heirloom.core.event import Event, Surface
from heirloom.core.listing import Status
from heirloom.core.log import EventLog, Rejected
from heirloom.core.query import Query
from heirloom.core.slate import AHEAD_OF_LOG, Degraded, Reason, Shown, Slate
from heirloom.encoders.pair import HASHED, Encoders
from heirloom.features.rows import Packing
from heirloom.pipelines import recovery
from heirloom.pipelines.as_of import CutOff
from heirloom.pipelines.candidates import popular
from heirloom.pipelines.explain import Explained, explain
from heirloom.pipelines.explain import reasons as later_reasons
from heirloom.pipelines.ingest import Arrivals, Ingest, Report
from heirloom.pipelines.ladder import FAILED, Ladder
from heirloom.pipelines.live import Live, fold_content
from heirloom.pipelines.policy import Policy
from heirloom.pipelines.serve import recommend, record
from heirloom.pipelines.stored import StoredFeatures
from heirloom.pipelines.train import Progress, Trained
from heirloom.pipelines.training_report import TrainingReport
from heirloom.ranking.ranker import Ranker
from heirloom.retrieval.content import ContentIndex

logger = logging.getLogger(__name__)

SNAPSHOT_ENDS_S = 8.0
"""Who closes waits so long for a snapshot that is being written, which is ended anyhow."""
WORTH_KEEPING = 0.1
"""At a planned end a snapshot is written where this share of `snapshot_every` came since the last:
with the default, half a second of the next start."""


class System:
    """One marketplace: its log, its live state, and the policy that answers.

    Reads and writes of the live state take one lock, so that a request sees all of an event or
    nothing of it.

    One process writes the log, and any number of readers answer beside it. A reader folds the log
    itself, up to what was acknowledged when a request begins; where the settings name a store of
    features, the writer writes them there a moment later, and readers read them.

    Attributes:
        sends: takes events to the process that writes, where this is one of its workers.
        beside: what `ready` tells of the processes that answer beside this one.
        training: learns from the log.
        restored_to: the log offset of the features that were kept, 0 for none.
        began_at: the offset from which the log was read, for all that is kept is as far.

    Args:
        settings: one TOML.
        registry: what its names stand for; default: what is installed.
        answering: load the published bundle. Without, a system can still take events in and
            train, also when that bundle no longer fits the view.
        reader: answer beside the writer: read the log only.
        clock: ms since 1970 UTC.

    Raises:
        ConfigError: a reader that could not answer; the policy names what is not there, the view
            is not what was published, or the bundle is of another view.
        BundleError, StoreError: what lies in the folder is damaged, or in use.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        registry: Registry | None = None,
        answering: bool = True,
        reader: bool = False,
        clock: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
    ) -> None:
        self.settings = settings
        self.registry = registry or Registry.installed()
        self.now_ms = clock
        self.sends: Callable[[Iterable[Event | Rejected], str], Report] | None = None
        self.beside: Callable[[], Mapping[str, object]] = dict
        self.folder = settings.system.folder
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StoreError(
                f"{self.folder} cannot be the system's folder: {error}; name another in the TOML "
                "or with --folder"
            ) from error
        self.published = publications.read(self.folder)
        if self.published is not None:
            self.published.check(view_of(settings, self.registry))
        if reader:
            check_reader(settings)
        self.store = row_store(settings, view_of(settings, self.registry))
        self.photos = PhotoStore.of(settings)
        self.ladder = Ladder(settings.serving.deadline_ms * 1_000_000)
        self.index: SharedIndex | None = None
        self.availability: AvailabilityFile | None = None
        self._lock = threading.RLock()
        self._open(reader)
        try:
            self.availability = AvailabilityFile(self.folder / "availability", writes=not reader)
            self.encoders = self._encoders_in(self._current()) if answering else HASHED
            self.learned = learned_in(self._current()) if answering else {}
            self.index = self._shared_index(self.encoders) if answering else None
            names = recovery.names_of(view_of(settings, self.registry), self.encoders.listings)
            self.live = self._kept.begun(self._nothing_folded, self._reach(), ahead=names)
            self.restored_to, self.began_at = self.live.features.n, self.live.n
            self._snapshot_due = self.began_at + settings.system.snapshot_every
            self._begin()
            self._restate()
            if self.index is not None:
                self.index.begin()
            self.policy = self._published() if answering else self._policy_of(None, "")
            self.policy.check(self.live, self.published)
            if self.index is not None:
                self.index.start()
        except HeirloomError:
            self._let_go()
            raise
        self._start()

    def resume(self, *, reader: bool) -> None:
        """Go on in a process that was forked after `close`: all files are opened anew here.

        What was folded before the fork is shared with the other processes until it changes. A
        reader folds features itself then, whatever store the settings name.

        Raises:
            BundleError, StoreError: as when it is made.
        """
        self.store = None if reader else row_store(self.settings, self.live.view)
        self.write_behind: WriteBehind | None = None
        self._lock = threading.RLock()
        self._open(reader)
        try:
            self.availability = AvailabilityFile(self.folder / "availability", writes=not reader)
            self.index = self._shared_index(self.encoders)
            self.live.content.index = self.index or self.live.content.index
            self._begin()
            self._restate()
            if self.index is not None:
                self.index.begin()
                self.index.start()
        except HeirloomError:
            self._let_go()
            raise
        self._start()

    def _open(self, reader: bool) -> None:
        self.reader = reader
        self.log = open_log(self.folder, read_only=reader)
        self.anteroom = SqliteAnteroom(self.folder / "anteroom.sqlite")
        self._kept = Kept(self.folder, self.log)

    def _let_go(self) -> None:
        if self.index is not None:
            self.index.close()
        if self.availability is not None:
            self.availability.close()
        self._kept.close()
        self.log.close()
        self.anteroom.close()

    def _start(self) -> None:
        """Take events in, and write what is written in the background."""
        settings = self.settings
        self._ingest = Ingest(
            log=self.log,
            anteroom=self.anteroom,
            catalogue=self.live.catalogue,
            currency=settings.system.currency,
            rates=settings.rates,
            declared=settings.system.declared,
            announce=self._announce,
            apply=self.live.fold,
            rules=settings.events.rules,
        )
        self.training = Training(settings, self.registry, self.log, self.photos)
        self.records = ParquetRecords(self.folder / "slates", **settings.records.model_dump())
        self._writing = 0  # the process that writes a snapshot
        self.write_behind = None if self.reader else self._write_behind()

    def _begin(self) -> None:
        """Fold the log: to its end; a reader, to what is announced or the store stands at."""
        if self.reader:
            self._catch_up()
            return
        self._follow(self.log.end())
        self.live.vocabulary.know_all()

    def _nothing_folded(self) -> Live:
        """As `empty_live`, with the index and the store of features that are named."""
        live = self.empty_live()
        live.content.index = self.index or live.content.index
        if self.reader and self.store is not None:
            live.read_features_from(StoredFeatures(live.view, self.store), self._follow)
        return live

    def _reach(self) -> EventLog:
        """The log as far as it may be folded: a reader's to where the store of features stands.

        Or to what is announced: a snapshot may be of entries that are not acknowledged yet.
        """
        if not self.reader or self.availability is None:
            return self.log
        announced = self.availability.n
        return CutOff(self.log, announced if self.store is None else self.store.mark().n)

    def _restate(self) -> None:
        """What may be shown is read from the file of availability; the writer writes it first."""
        file, catalogue = self.availability, self.live.catalogue
        if file is not None and not self.reader:
            file.restate(catalogue.column("generation"), catalogue.live, self.live.n)
        self.live.availability = file

    def _announce(self, slots: NDArray[np.int32], n: int) -> None:
        """Before an event is acknowledged: what may be shown of these slots from now on."""
        if self.availability is not None:
            generations = self.live.catalogue.column("generation")[slots]
            live = self.live.catalogue.column("status")[slots] == Status.LIVE
            self.availability.announce(slots, generations, live, n)

    def catch_up(self) -> None:
        """A reader folds what was acknowledged up to now; the writer has folded it.

        One that reads features from a store goes as far as the store, where a slate asks for it.

        Raises:
            StoreError: the log cannot be read, or was replaced.
        """
        if self.reader and self.store is None:
            with self._lock:
                self._read_on()

    def _caught_up(self) -> bool:
        self._catch_up()
        return True

    def _catch_up(self) -> None:
        """A reader's state to where the store of features stands; else to all that is announced."""
        if not self.reader:
            return
        if self.store is None:
            self._read_on()
            return
        mark = self.store.mark()
        if mark.n > self.live.n:
            self._follow(mark.n)
            if self.live.n < mark.n or mark.log != recovery.mark_of(self.log, mark.n):
                raise MismatchError(
                    f"{self.store}: it holds features of another log than {self.log.path}; see "
                    "which writer writes to it: one system has one name, one log and one writer"
                )

    def _read_on(self) -> None:
        """Fold what was acknowledged since; one look at a mapped word where it is nothing."""
        n = self.live.n if self.availability is None else self.availability.n
        if n < self.live.n:
            raise MismatchError(
                f"{self.log.path}: it ends at offset {n}, and {self.live.n} entries of it were "
                "read before; the log was replaced by another: start again"
            )
        if n > self.live.n:
            self._follow(n)

    def _follow(self, n: int) -> None:
        self.live.vocabulary.foresee(self.log.words(self.live.vocabulary.next_code))
        self.live.replay(self.log.read(self.live.n, n))

    def _write_behind(self) -> WriteBehind | None:
        """The thread that writes features to their store, if they have one; begun."""
        if self.store is None:
            return None
        behind = WriteBehind(
            self.store,
            Packing(self.live.view, self.live.features),
            self._lock,
            seconds=self.settings.features.write_every_ms / 1_000,
            log=FoldedLog(self.log),
            tell=logger.warning,
        )
        self.live.applied = behind.applied
        behind.start()
        return behind

    def _shared_index(self, encoders: Encoders) -> SharedIndex | None:
        """A server's index of these encoders' vectors, if the settings name a server; not begun."""
        return shared_index(
            self.settings.index,
            self.log,
            lambda: self.live.content,
            lambda: self.live.n,
            self._lock,
            model_id=encoders.listings.model_id,
            dim=encoders.listings.dim,
            writes=not self.reader,
            tell=logger.warning,
        )

    def empty_live(self, *, retrievers: bool = True) -> Live:
        """A state that has folded nothing yet; it shares the log's codes."""
        return empty_live(
            self.settings, self.registry, self.log,
            encoders=self.encoders, learned=self.learned, retrievers=retrievers,
        )  # fmt: skip

    @property
    def writes(self) -> bool:
        """Whether events are written to the log here, and not by another process for this one."""
        return self.sends is None and not self.reader

    def ingest(self, events: Iterable[Event | Rejected], *, source: str = "api") -> Report:
        """Take events over; durable and folded when it returns.

        Raises:
            InputError: this is a reader, and has no writer to send them to.
            StoreError: its writer is away.
        """
        if self.sends is not None:
            return self.sends(events, source)
        self._check_writer()
        with self._lock:
            report = self._ingest.ingest(events, now_ms=self.now_ms(), source=source)
            self._snapshot_if_due()
        return report

    def ingest_group(self, group: Sequence[Arrivals]) -> list[Report]:
        """The same of what several senders sent, in one durable write: a report for each.

        Raises:
            InputError: this is a reader, and has no writer to send them to.
            StoreError: its writer is away.
        """
        if self.sends is not None:
            return [self.sends(sent.events, sent.source) for sent in group]
        self._check_writer()
        with self._lock:
            reports = self._ingest.ingest_group(group, now_ms=self.now_ms())
            self._snapshot_if_due()
        return reports

    def ingest_history(self, events: Iterable[Event | Rejected], *, source: str) -> Report:
        """Take over events of the past, each as if it had come when it happened.

        Raises:
            InputError: this is a reader.
        """
        self._check_writer()
        with self._lock:
            report = self._ingest.ingest(events, now_ms=None, source=source)
            self._snapshot_if_due()
        return report

    def _check_writer(self) -> None:
        if self.reader:
            raise InputError(
                f"events came to a reader of {self.folder}; send them to its writer, the process "
                "that serves without --reader"
            )

    def recommend(
        self, query: Query, *, reasons: int | None = None, deadline: int | None = None
    ) -> Slate:
        """The slate for a query; its record is written in the background.

        The first so many listings get their reasons; all where `reasons` is None. A step that
        fails, or for which there is no time until the deadline (ns of the monotonic clock), is left
        out: the next rung of the ladder answers, and `degraded` says so.

        Raises:
            MismatchError: a reader's log or store was replaced by another.
        """
        with self._lock:
            steps = self.ladder.descent(deadline)
            followed = steps.attempt("follow", self._caught_up, otherwise="behind")
            if followed is None and self.store is not None:
                steps.leave_out("features", "features are of another moment than all else")
            over = within(self.settings.policy.retrieve_ms)
            slate = recommend(
                query, self.policy, self.live, out_of_time=over, reasons=reasons, steps=steps
            )
            if self._ingest.failure is not None:
                reason = f"ahead of the log, a write failed: {self._ingest.failure}; start again"
                degraded = (*slate.degraded, Degraded(AHEAD_OF_LOG, reason, FAILED))
                slate = dataclasses.replace(slate, degraded=degraded)
            if self.index is not None and self.index.trouble:
                reason = f"{self.index.trouble}; listings were compared in this process"
                degraded = (*slate.degraded, Degraded("index", reason, FAILED))
                slate = dataclasses.replace(slate, degraded=degraded)
        self.records.write(record(slate, query))
        return slate

    def popular(self, category: str, k: int) -> tuple[str, ...]:
        """Ids of at most k listings on sale below a category that many want, whoever asks."""
        with self._lock:
            return popular(self.live, self.now_ms(), category, k)

    def explain(self, query: Query, slate: Slate, shown: Sequence[Shown]) -> list[Explained]:
        """Why each of these listings of a slate stands where it does; each is still known here."""
        with self._lock:
            return explain(query, slate, shown, self.policy, self.live)

    def reasons(
        self, query: Query, slate: Slate, shown: Sequence[Shown]
    ) -> Sequence[tuple[Reason, ...]]:
        """Reasons of listings of a slate that has none for them yet."""
        with self._lock:
            return later_reasons(query, slate, shown, self.policy, self.live)

    def matching(self, text: str) -> NDArray[np.bool_]:
        """[slots] bool: the live listings that a search means by these words; maybe none.

        Counts rest on it, so it asks for the well matched alone, whatever else a slate shows.
        """
        with self._lock:
            matcher = self.live.matcher(self.policy.quotas[Surface.SEARCH])
            return matcher.matching(text, self.live.catalogue.live, least=1)

    def train(
        self, *, ablate: bool = False, progress: Progress = lambda *_: None
    ) -> tuple[ModelBundle[Ranker], Trained]:
        """Train on the whole log, write the bundle, and answer with it unless a gate refuses.

        Args:
            ablate: also fit again without each group of features, for the report.
            progress: told now and then.

        Raises:
            ConfigError: [training.ranker_settings] are not the ranker's.
            InputError: too little to learn from, or a gate refused; the bundle is kept then.
        """
        lesson = self.training.lesson(self.live.retrievers, ablate=ablate, progress=progress)
        bundle = self.training.keep(lesson)
        if lesson.trained.refused:
            raise InputError(
                f"bundle {bundle.bundle_id} is not published: " + "; ".join(lesson.trained.refused)
            )
        self.publish(bundle.bundle_id)
        return bundle, lesson.trained

    def audit(
        self, *, ablate: bool = False, progress: Progress = lambda *_: None
    ) -> TrainingReport:
        """What `train` would find out; nothing is written.

        Raises:
            ConfigError, InputError: as `train`, but no gate refuses.
        """
        lesson = self.training.lesson(self.live.retrievers, ablate=ablate, progress=progress)
        return lesson.trained.report or TrainingReport()

    def evaluate(
        self, *, progress: Progress = lambda *_: None
    ) -> tuple[dict[str, float], dict[str, dict[str, float]]]:
        """Metrics of the bundle in use on the latest slates of the log: all, and by surface."""
        policy = self.policy
        if policy.ranker is None:
            raise NotFoundError(f"no bundle is published in {self.folder}; run `heirloom train`")
        return self.training.evaluated(
            policy.ranker, policy.action_weights, self.encoders, self.learned, progress
        )

    def follow_published(self) -> str:
        """Answer with the bundle that was published last, by whatever process.

        Returns:
            Why it is refused, so that the one before goes on answering; empty where it is not.
        """
        try:
            current = self._current()
            if current is None or current.name == self.policy.bundle:
                return ""
            self.publish(current.name, point=False)
        except HeirloomError as error:
            return str(error)
        return ""

    def publish(self, bundle_id: str, *, point: bool = True) -> None:
        """Answer with a bundle from now on, here and after a restart.

        Other processes follow the pointer in the system's folder; without `point` this one alone
        answers with it. Where it has other encoders, every listing is encoded anew first, but for
        those in a snapshot of their vectors, as after a roll-back; until that is done the old
        bundle answers, and events go on coming in.
        """
        policy = self._policy_with(bundle_id)
        policy.check(self.live, self.published)
        encoders, n = self._encoders_in(self._bundle_folder(bundle_id)), self.live.n
        learned = learned_in(self._bundle_folder(bundle_id))
        other = encoders.model_id != self.encoders.model_id
        old, index = self.index, self._shared_index(encoders) if self.index and other else None

        def empty() -> ContentIndex:
            content = ContentIndex(encoders.listings)
            content.index = index or content.index
            return content

        content = empty()
        if other:
            if self.policy.bundle:
                self.keep(least=1)  # this one may be gone back to
            content, kept = self._kept.content(empty, n)
            fold_content(content, self.log.read(kept, n))
        with self._lock:
            if index is not None:
                index.begin()
            if other:
                fold_content(content, self.log.read(n, self.live.n))  # what came meanwhile
                self.live.change_encoders(encoders, content)
                self.encoders, self.index = encoders, index
                self._snapshot_due = self.live.n  # else a start would encode all anew
            teach(self.live.retrievers, learned)
            self.learned = learned
            if point:
                self._point_to(bundle_id)
            before = dataclasses.replace(self.policy, spare=None)
            spares = not other and before.ranker is not None and before.bundle != bundle_id
            spare = before if spares else None
            self.policy = dataclasses.replace(policy, spare=spare)
            self.ladder.forget("score")
        if index is not None and old is not None:
            index.start()
            old.close()

    def _point_to(self, bundle_id: str) -> None:
        pointer = self.folder / "current.txt"
        unfinished = pointer.with_suffix(".tmp")
        unfinished.write_text(bundle_id + "\n", encoding="utf-8")
        unfinished.replace(pointer)

    def ready(self) -> dict[str, object]:
        """What a load balancer or a person may ask before sending traffic."""
        return {
            "listings": int(self.live.catalogue.live.sum()),
            "n": self.live.n,
            "policy": self.policy.name,
            "bundle": self.policy.bundle,
            **({"writer": self._has_writer()} if self.reader else {}),
            "photos_refused": self.photos.refused,
            **self.beside(),
            **({"index": self.index.trouble or self.settings.index.kind} if self.index else {}),
        }

    def freshness(self) -> Freshness:
        """What this process answers from, and how old that is; asked from any thread."""
        live = self.live
        snapshot_n, snapshot_ms = self._kept.newest(live)
        return Freshness(
            n=live.n,
            acknowledged=live.n if self.availability is None else self.availability.announced,
            newest_ms=live.newest_ms,
            snapshot_n=snapshot_n,
            snapshot_ms=snapshot_ms,
            policy=self.policy.name,
            bundle=self.policy.bundle,
            index=self.encoders.listings.model_id,
        )

    def _has_writer(self) -> bool:
        """Whether a process takes events in now; without one, readers answer as of the last."""
        return self.availability is not None and self.availability.written()

    def records_lost(self) -> int:
        """Slate records that were to be written and were not, since the start."""
        return self.records.lost

    def people_examples(self, count: int = 6) -> list[tuple[str, str]]:
        """Some people of the log to look through the eyes of: (user, a sentence about them)."""
        examples = []
        catalogue, vocabulary = self.live.catalogue, self.live.vocabulary
        people = vocabulary.texts("person")
        for code in range(1, len(people)):
            slots, _, _ = self.live.people.recent(code)
            if people[code].startswith("session:") or len(slots) < 10:
                continue
            words = [catalogue.listing(int(slot)) for slot in slots[:20]]
            brands = _most_frequent([listing.brand for listing in words if listing.brand])
            kinds = _most_frequent([listing.category.split("/")[-1] for listing in words])
            examples.append((people[code], f"lately {kinds}; {brands}"))
            if len(examples) == count:
                break
        return examples

    def snapshot(self) -> int:
        """Keep all that is folded as it is, for a quicker start; gives the offset.

        Nobody is answered meanwhile.

        Raises:
            StoreError: the disk refuses, or the state may be ahead of the log.
        """
        with self._lock:
            if self._ingest.failure is not None:
                raise StoreError(
                    f"snapshot: a write to the log failed ({self._ingest.failure}), so the state "
                    "may be ahead of it; start again"
                )
            self._snapshot_due = self.live.n + self.settings.system.snapshot_every
            if self.live.n:
                self._kept.write(self.live)
        return self.live.n

    def _snapshot_if_due(self) -> None:
        """In a child process: requests and events go on while it writes."""
        if self.live.n < self._snapshot_due or self._ingest.failure is not None:
            return
        if self._writing and not ended(self._writing, 0):
            return
        self._snapshot_due = self.live.n + self.settings.system.snapshot_every
        try:
            self._writing = self._kept.begin(self.live)
        except StoreError as error:
            logger.warning("%s", error)

    def keep(self, *, least: int | None = None) -> None:
        """Before a planned stop: where much came since the last snapshot, begin to write one.

        A child writes it, for which `close` waits.

        Args:
            least: log entries; None: WORTH_KEEPING of `snapshot_every`.
        """
        every = self.settings.system.snapshot_every
        if least is None:
            least = max(round(WORTH_KEEPING * every), 1)
        with self._lock:
            came = self.live.n - (self._snapshot_due - every)
            if not self.reader and came >= least:
                self._snapshot_due = self.live.n
                self._snapshot_if_due()

    def close(self) -> None:
        """Write what is waiting to be written, and let the files go."""
        if self._writing:
            ended(self._writing, SNAPSHOT_ENDS_S)
            self._writing = 0
        if self.index is not None:
            self.index.close()
        if self.availability is not None:
            self.availability.close()
        self._kept.close()
        if self.write_behind:
            self.write_behind.close()
        if self.store:
            self.store.close()
        self.records.close()
        self.log.close()
        self.anteroom.close()

    def _published(self) -> Policy:
        """The policy with the bundle that was published last; without a ranker if none was."""
        current = self._current()
        return self._policy_of(None, "") if current is None else self._policy_with(current.name)

    def _current(self) -> Path | None:
        """The folder of the bundle that was published last, if one was."""
        return current_bundle(self.folder)

    def _encoders_in(self, bundle: Path | None) -> Encoders:
        return encoders_in(bundle, self.settings, self.photos)

    def _bundle_folder(self, bundle_id: str) -> Path:
        return bundles.named(self.folder / "bundles", bundle_id)

    def _policy_with(self, bundle_id: str) -> Policy:
        folder = self._bundle_folder(bundle_id)
        if not folder.is_dir():
            raise NotFoundError(
                f"no bundle {bundle_id!r} under {folder.parent}; run `heirloom train`"
            )
        bundle = bundles.load(folder, self.registry.rankers)
        return self._policy_of(
            bundle.ranker, bundle.bundle_id, guarded_weights(self.settings, bundle.manifest)
        )

    def _policy_of(
        self, ranker: Ranker | None, bundle_id: str, weights: Weights | None = None
    ) -> Policy:
        return policy_of(self.settings, ranker, bundle_id, weights)


def _most_frequent(words: list[str], count: int = 2) -> str:
    ranked = sorted(set(words), key=lambda word: (-words.count(word), word))
    return ", ".join(ranked[:count])
