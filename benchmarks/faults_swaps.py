"""Bundles, and with them the vectors' index, are swapped by the pointer under load.

No request may fail, and no page may be of two: each names the bundle that made it, and every score
on it is what that bundle's ranker gives for the features that were served, as the slate record has
them.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from benchmarks import faults_market as fm
from benchmarks.faults_load import Answer, Load, Page, bodies_of
from benchmarks.faults_market import Market, copied, market, toml
from benchmarks.record import Row
from heirloom.adapters import bundle as bundles
from heirloom.adapters import slate_records
from heirloom.apps.registry import Registry
from heirloom.core.slate import FeatureBatch, SlateRecord
from heirloom.ranking.ranker import Ranker

RATE = 200.0
ROLL_BACK_S = 5.0
SCORED = ("full", "bare", "no rules", "behind", "fewer sources", "spare ranker")
"""Rungs on which a ranker's scores are shown."""
_INDEX_EVERY = 5
"""Of so many swaps one is to the bundle with other encoders, and one from it."""


@dataclass(frozen=True, slots=True)
class Swapped:
    """What became of the requests while bundles were swapped.

    Attributes:
        swaps: of all.
        of_index: of those, to or from a bundle with other encoders.
        asked: requests.
        rate: a second, as they were sent.
        failed: not answered 200.
        mixed: pages that name no bundle that was published, or show a score that it does not give.
        compared: pages whose scores were computed again.
        lower: pages of a rung without the ranker's scores, among those answered.
        made_by: how many bundles made a page.
        back_s: from moving the pointer to the former bundle until all processes answered with it;
            [of the same encoders, of others].
        p99_ms: of all, from when they were due.
    """

    swaps: int
    of_index: int
    asked: int
    rate: float
    failed: int
    mixed: int
    compared: int
    lower: int
    made_by: int
    back_s: tuple[tuple[float, ...], tuple[float, ...]]
    p99_ms: float


def swapped(stock: Path, swaps: int, *, rate: float = RATE, rest_s: float = 0.5) -> Swapped:
    """Swap bundles under load, each when all processes answer with the one before."""
    answers: list[Answer] = []
    took: list[tuple[bool, float]] = []
    with copied(stock) as folder:
        made = fm.about(folder)
        first, second, other = made.bundles
        load = partial(Load, bodies=bodies_of(made.people), rate=rate, tell=answers.append)
        with market(folder, toml(folder), workers=2) as to, load([to.port]):
            at = first
            for number in range(swaps):
                time.sleep(rest_s)
                goes = other if number % _INDEX_EVERY == 1 else first
                if goes == at:
                    goes = second
                took.append((other in (at, goes), _published(to, goes)))
                at = goes
            time.sleep(rest_s)
        rankers = _rankers(folder, made.bundles)
        records = {each.slate_id: each for each in slate_records.read(folder / "slates")}
    pages = [answer.page for answer in answers if answer.page is not None]
    verdicts = [
        agrees(answer.page, records.get(answer.page.slate_id), rankers)
        for answer in answers
        if answer.page is not None and answer.page.rung in SCORED
    ]
    spent = max(answer.due for answer in answers) - min(answer.due for answer in answers)
    waits = [answer.took for answer in answers if answer.status == 200]
    return Swapped(
        swaps=swaps,
        of_index=sum(other for other, _ in took),
        asked=len(answers),
        rate=len(answers) / spent,
        failed=sum(answer.status != 200 for answer in answers),
        mixed=sum(verdict is False for verdict in verdicts),
        compared=sum(verdict is not None for verdict in verdicts),
        lower=sum(page.rung not in SCORED for page in pages),
        made_by=len({page.bundle for page in pages}),
        back_s=(
            tuple(s for other, s in took if not other),
            tuple(s for other, s in took if other),
        ),
        p99_ms=1e3 * float(np.percentile(waits, 99)),
    )


def agrees(page: Page, record: SlateRecord | None, rankers: Mapping[str, Ranker]) -> bool | None:
    """Whether a page is of one bundle, the one it names; None: its record was not kept."""
    ranker = rankers.get(page.bundle)
    if ranker is None:
        return False
    if record is None or not record.features:
        return None
    values = np.frombuffer(record.features, "<f4").reshape(-1, len(record.columns))
    scores = ranker.score(FeatureBatch(values, record.columns, record.n))[:, 0]
    shown = dict(zip(record.listings, scores, strict=True))
    return record.bundle == page.bundle and all(
        card.score is not None and np.float32(card.score) == shown.get(card.listing_id)
        for card in page.listings
    )


def _published(to: Market, bundle: str) -> float:
    """Move the pointer; s until all processes answer with it."""
    began = time.monotonic()
    to.publish(bundle)
    to.until_all(lambda one: one.bundle == bundle[: len(one.bundle)])
    return time.monotonic() - began


def _rankers(folder: Path, ids: Sequence[str]) -> dict[str, Ranker]:
    known = Registry.installed().rankers
    return {each: bundles.load(folder / "bundles" / each, known).ranker for each in ids}


def rows(listings: int = 5_000, swaps: int = 50, rate: float = RATE) -> list[Row]:
    """As many swaps as are asked for, at the rate or what there is of it."""
    found = swapped(fm.stocked(listings), swaps, rate=rate)
    said = (
        f"{found.swaps} swaps of the pointer, {found.of_index} of them with other encoders and so "
        f"another index; {found.asked:,} requests at {found.rate:.0f} a second, Poisson; two "
        f"workers, {listings:,} listings; the load runs on the same cores"
    )
    same, others = (np.array(each or (np.nan,)) for each in found.back_s)
    longest = max(same.max(), others.max())
    return [
        Row(id="faults.swap_failures", value=found.failed, unit="requests", better="equal",
            target=0, note=f"not answered 200; {said}; p99 {found.p99_ms:.0f} ms"),
        Row(id="faults.swap_mixed", value=found.mixed, unit="pages", better="equal", target=0,
            note=f"of {found.compared:,} whose scores were computed again by the bundle they name "
            f"from the features of their slate records; {found.made_by} bundles made pages; "
            f"{found.lower:,} pages were of a rung without scores"),
        Row(id="faults.swap_back_s", value=round(float(longest), 2), unit="s", better="lower",
            target=ROLL_BACK_S,
            note=f"from moving the pointer until all three processes answer with it, the longest; "
            f"p50 {np.median(same):.2f}, with other encoders {np.median(others):.2f}: every "
            "listing is encoded anew by each process then"),
    ]  # fmt: skip
