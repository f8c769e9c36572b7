"""A small marketplace, end to end: what is promised to people and to training."""

import shutil
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import msgspec
import numpy as np
import pytest

from heirloom.apps.build import System
from heirloom.apps.desk import Desk
from heirloom.apps.metrics import Metrics
from heirloom.apps.parts import recipe_of
from heirloom.apps.settings import load
from heirloom.apps.standing import standing
from heirloom.core.event import Event, Kind
from heirloom.core.listing import Status
from heirloom.core.query import Filters, Query
from heirloom.core.slate import FeatureBatch, Slate
from heirloom.pipelines.candidates import retrieve
from heirloom.pipelines.serve import recommend, record
from heirloom.pipelines.train import held_out, train
from heirloom.ranking.expected import CatBoostExpected
from heirloom.ranking.ranker import Examples

from .conftest import LAPTOP, Marketplace


def someone(system: System) -> str:
    """A person who has done something."""
    return system.people_examples(1)[0][0]


def ask(system: System, **asked: object) -> Slate:
    return system.recommend(Query(t=system.now_ms(), **asked))  # type: ignore[arg-type]


def act(system: System, kind: Kind, number: int, **fields: object) -> None:
    event = Event(
        event_id=f"test-{kind}-{number}-{fields}",
        kind=kind.value,
        t=system.now_ms(),
        **fields,  # type: ignore[arg-type]
    )
    report = system.ingest([event])
    assert report.taken == 1, str(report)


@pytest.mark.parametrize("surface", ["home", "similar", "search"])
def test_every_surface_gives_a_full_slate_of_live_listings(
    trained: Marketplace, surface: str
) -> None:
    system = trained.system
    catalogue = system.live.catalogue
    anchor = catalogue.listing(int(np.flatnonzero(catalogue.live)[0]))
    slate = ask(
        system,
        surface=surface,
        user=someone(system),
        anchor=anchor.listing_id if surface == "similar" else None,
        text=f"{anchor.brand} {anchor.colour}" if surface == "search" else "",
        k=12,
    )
    assert len(slate.shown) == 12
    assert not slate.degraded
    assert all(catalogue.status(int(slot)) is Status.LIVE for slot in slate.slots)
    assert len({shown.listing for shown in slate.shown}) == 12
    assert anchor.listing_id not in {s.listing for s in slate.shown} or surface != "similar"
    assert all(shown.sources for shown in slate.shown)
    assert sum(bool(shown.reasons) for shown in slate.shown) >= 9


def test_a_newcomer_gets_a_slate(trained: Marketplace) -> None:
    assert len(ask(trained.system, k=24).shown) == 24


def test_a_bought_listing_is_in_no_later_slate(trained: Marketplace) -> None:
    system, user = trained.system, someone(trained.system)
    first = ask(system, user=user, k=5).shown[0].listing
    act(system, Kind.PURCHASE, 1, user=user, listing=first)
    act(system, Kind.SOLD, 1, listing=first)
    for _ in range(5):
        assert first not in {s.listing for s in ask(system, user=user, k=100).shown}


def test_hidden_and_blocked_and_own_are_not_shown(trained: Marketplace) -> None:
    system, user = trained.system, someone(trained.system)
    slate = ask(system, user=user, k=3)
    hidden, other = slate.shown[0].listing, slate.shown[1].listing
    catalogue = system.live.catalogue
    seller = catalogue.listing(catalogue.slot_of(other)).seller
    act(system, Kind.HIDE, 1, user=user, listing=hidden)
    act(system, Kind.BLOCK, 1, user=user, seller=seller)
    after = ask(system, user=user, k=100)
    assert hidden not in {s.listing for s in after.shown}
    assert seller not in {catalogue.listing(int(slot)).seller for slot in after.slots}
    own = ask(system, user=seller, k=100)
    assert seller not in {catalogue.listing(int(slot)).seller for slot in own.slots}


def test_filters_are_kept(trained: Marketplace) -> None:
    system = trained.system
    catalogue = system.live.catalogue
    model = catalogue.listing(int(np.flatnonzero(catalogue.live)[7]))
    department = model.category.split("/")[0]
    slate = ask(
        system,
        user=someone(system),
        filters=Filters(category=department, price_max_minor=5_000),
        k=50,
    )
    assert slate.shown
    for slot in slate.slots:
        listing = catalogue.listing(int(slot))
        assert listing.category.startswith(department)
        assert catalogue.column("price_minor")[slot] <= 5_000


def test_a_click_changes_the_next_slate(trained: Marketplace) -> None:
    system, user = trained.system, "a-new-person"
    before = ask(system, user=user, k=24)
    for number, shown in enumerate(before.shown[:3]):
        act(system, Kind.CLICK, number, user=user, listing=shown.listing, slate=before.slate_id)
    after = ask(system, user=user, k=24)
    assert [s.listing for s in after.shown] != [s.listing for s in before.shown]


def test_a_restart_gives_the_same_slate_by_bytes(trained: Marketplace, tmp_path: Path) -> None:
    system = trained.system
    query = Query(t=system.now_ms(), user=someone(system), k=24)
    served = recommend(query, system.policy, system.live)
    shutil.copytree(system.folder, tmp_path / "copy", ignore=shutil.ignore_patterns("*.writer*"))
    again = System(load(LAPTOP, folder=tmp_path / "copy"))
    try:
        replayed = recommend(query, again.policy, again.live)
    finally:
        again.close()
    assert msgspec.msgpack.encode(record(served, query)) == msgspec.msgpack.encode(
        record(replayed, query)
    )


def test_served_features_are_replayed_bit_for_bit(trained: Marketplace) -> None:
    """Served at n while events came on; replayed from the log up to n, compared as bytes."""
    system, user = trained.system, someone(trained.system)
    served = []
    for number in range(5):
        query = Query(t=system.now_ms(), user=user, k=10)
        slate = system.recommend(query)
        served.append((query, slate))
        act(system, Kind.CLICK, 100 + number, user=user, listing=slate.shown[number].listing)
    for query, slate in served:
        live = system.empty_live(retrievers=False)
        live.replay(system.log.read(0, slate.n))
        batch = live.look_up(live.request(query), slate.slots)
        assert slate.features is not None
        assert batch.values.tobytes() == slate.features.values.tobytes()


def test_training_again_gives_the_same_bundle(trained: Marketplace, tmp_path: Path) -> None:
    system = trained.system
    shutil.copytree(system.folder, tmp_path / "copy", ignore=shutil.ignore_patterns("*.writer*"))
    again = System(load(LAPTOP, folder=tmp_path / "copy"))
    try:
        first, _ = again.train()
        second, _ = again.train()
    finally:
        again.close()
    assert first.bundle_id == second.bundle_id


class Recorded(CatBoostExpected):
    """What it is fitted on at last."""

    refits: ClassVar[list[Examples]] = []

    def refit(self, examples: Examples, *, seed: int, thread_count: int = 2) -> "Recorded":
        self.refits.append(examples)
        return super().refit(examples, seed=seed, thread_count=thread_count)


def test_the_ranker_learns_from_the_latest_slates_too(trained: Marketplace) -> None:
    system = trained.system
    recipe = recipe_of(system.settings)
    made = train(system.log, system.empty_live(retrievers=False), Recorded, recipe)
    (learned,) = Recorded.refits
    test, _ = held_out(system.log, system.empty_live(retrievers=False), recipe)
    assert learned.t.max() == test.t.max()
    assert len(learned.t) > 5 * len(test.t)
    assert (test.t > learned.t.min()).all()
    batch = FeatureBatch(test.values, test.columns, 0)
    once_more = made.ranker.refit(learned, seed=recipe.seed)
    np.testing.assert_array_equal(made.ranker.score(batch), once_more.score(batch))


def test_a_search_ranks_as_many_as_are_ranked_elsewhere(trained: Marketplace) -> None:
    system = trained.system
    live, policy = system.live, system.policy
    request = live.request(Query(t=system.now_ms(), surface="search", text="black dress"))
    best = live.matcher(policy.quotas["search"]).matching("black dress", live.catalogue.live, 100)
    few, many = (
        retrieve(request, replace(policy, pools={"search": pool}), live).slots
        for pool in (100, policy.pool_of("search"))
    )
    assert best[few].all()
    assert not best[many].all()
    assert len(many) > len(few) == 100


def test_filters_that_nothing_meets_give_an_empty_slate(trained: Marketplace) -> None:
    for text in ("", "dress"):
        slate = ask(trained.system, user=someone(trained.system), text=text,
                    surface="search" if text else "home",
                    filters=Filters(brands=("no such brand",)))  # fmt: skip
        assert slate.shown == ()


def test_pages_are_explained_by_what_ranked_them(trained: Marketplace) -> None:
    system = trained.system
    desk = Desk(system, Metrics(system), impressions="client")
    groups = {group.name for group in system.live.view.groups}
    pages = []
    for user, _ in system.people_examples(6):
        first = desk.page(Query(t=system.now_ms(), user=user, k=12), explain=True)
        assert first.next_token is not None
        pages += [first, desk.later_page(first.next_token, 12, explain=True)]
    for page in pages:
        assert len(page.explained) == len(page.shown) == 12
        for shown, why in zip(page.shown, page.explained, strict=True):
            assert {each.group for each in why.contributions} == groups
            assert why.reasons == shown.reasons
            strongest = {each.group for each in why.contributions[:3]}
            assert {reason.group for reason in why.reasons if reason.group} <= strongest
    told = [bool(shown.reasons) for page in pages for shown in page.shown]
    assert sum(told) >= 0.75 * len(told)
    desk.close()


def test_a_listing_that_is_not_shown_is_explained_honestly(trained: Marketplace) -> None:
    system = trained.system
    query = Query(t=system.now_ms(), user=someone(system))
    whole = recommend(
        msgspec.structs.replace(query, k=system.policy.pool), system.policy, system.live
    )
    for place in (0, len(whole.shown) - 1):
        found = standing(system, whole.shown[place].listing, query)
        assert (found.place, found.kept_away) == (place, "")
        assert found.candidates == len(whole.shown)
        assert found.score == whole.shown[place].score
        assert found.contributions
    shown = {each.listing for each in whole.shown}
    slots = np.flatnonzero(system.live.catalogue.live).tolist()
    others = [system.live.catalogue.listing(slot).listing_id for slot in slots]
    away = standing(system, next(x for x in others if x not in shown), query)
    assert away.place is None
    assert away.kept_away
    assert away.score is not None
    assert away.would_be == sum(each.score > away.score for each in whole.shown)
    assert {each.group for each in away.contributions} == {g.name for g in system.live.view.groups}
