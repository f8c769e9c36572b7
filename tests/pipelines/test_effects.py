"""A person's effects as features: of what they were shown, and of nothing that took its slot."""

import numpy as np
import pytest

from heirloom.core.catalogue import Catalogue
from heirloom.core.event import KIND_CODE, Event, Kind
from heirloom.core.facts import EVENT_ROW, LISTING_ROW, MAX_DECLARED, Facts
from heirloom.core.listing import Listing
from heirloom.core.query import Query, Request
from heirloom.core.vocabulary import Vocabulary
from heirloom.pipelines.appeal import Appeal
from heirloom.pipelines.effects import (
    HISTORY,
    PLACES,
    SAID,
    latest,
    person_effects,
    present,
    styles,
)
from heirloom.pipelines.prices import PriceLevels
from heirloom.pipelines.shown import Shown
from heirloom.retrieval.diction import Diction

T = 1_735_689_600_000
SHELF = (
    ("women/clothing/dresses", "ganni"), ("women/clothing/dresses", "cos"),
    ("women/shoes/boots", "ganni"), ("women/shoes/boots", "cos"), ("men/clothing/shirts", "arket"),
)  # fmt: skip
ALL = np.arange(len(SHELF), dtype=np.int32)
STYLES = (
    ("boho", "fringed", "festival", "flowy"), ("studded", "grunge", "biker", "rock"),
    ("office", "tailored", "smart", "formal"),
)  # fmt: skip
WORDS = ("boho fringed", "studded grunge", "festival flowy", "biker rock", "smart formal")
"""How each on the shelf is described: the first and the third in one style, by no common word."""


@pytest.fixture
def catalogue() -> Catalogue:
    catalogue = Catalogue(Vocabulary())
    for number, (category, brand) in enumerate(SHELF):
        listing = Listing(
            listing_id=f"l{number}", seller="s", title="t", category=category, brand=brand
        )
        event = Event(
            event_id=f"e{number}", kind=Kind.LISTED, t=T, listing=f"l{number}", data=listing
        )
        catalogue.apply(event, catalogue.allocate(f"l{number}", T))
    return catalogue


@pytest.fixture
def diction() -> Diction:
    """Of the shelf, and of so many others that words have their places."""
    rng, diction = np.random.default_rng(0), Diction()
    others = [" ".join(rng.choice(STYLES[i % 3], 2, replace=False)) for i in range(400)]
    brands = [*[""] * len(WORDS), *(("ganni", "cos", "arket")[i % 3] for i in range(400))]
    described = enumerate(zip([*WORDS, *others], brands, strict=True))
    diction.put(
        {
            i: Listing(listing_id=f"l{i}", seller="s", title=title, brand=brand)
            for i, (title, brand) in described
        }
    )
    diction.refit()
    return diction


def shown_to(
    person: int, t: int, slots: list[int], opened: list[int], after: Shown | None = None
) -> Shown:
    """Four slates of the same listings, and what was opened of each, `after` what was shown."""
    events, rows, starts = [], [], [0]
    for _ in range(4):
        for kind, named in ((Kind.IMPRESSION, slots), *((Kind.CLICK, [slot]) for slot in opened)):
            event, mentioned = np.zeros(1, EVENT_ROW), np.zeros(len(named), LISTING_ROW)
            event["kind"], event["person"], event["t"] = KIND_CODE[kind], person, t
            mentioned["slot"], mentioned["position"] = named, np.arange(len(named))
            events.append(event)
            rows.append(mentioned)
            starts.append(starts[-1] + len(named))
    shown = after or Shown()
    shown.apply(Facts(np.concatenate(events), np.concatenate(rows), np.array(starts, np.int64)))
    return shown


def effects_of(
    catalogue: Catalogue,
    shown: Shown,
    person: int = 1,
    *,
    appeal: Appeal | None = None,
    diction: Diction | None = None,
    asked: dict[str, float] | None = None,
    **said: list[float],
) -> dict[str, list[float]]:
    """Of all on the shelf; `said` by slot, nothing where it is not named."""
    none = np.zeros(0, np.int32)
    request = Request(
        query=Query(t=T + 1), person=person, surface=1, declared=np.zeros(MAX_DECLARED, np.int32),
        anchor=-1, recent=none, recent_kinds=none.astype(np.int8), recent_t=none.astype(np.int64),
        text_vector=np.zeros(4, np.float32),
    )  # fmt: skip
    by_slot = {name: np.array(said.get(name, [np.nan] * 5), np.float32) for name in SAID}
    history = present(shown.of(person, HISTORY), catalogue, len(SHELF))
    seen = latest(history)
    both = np.concatenate([ALL, seen.slot])
    found = person_effects(
        request, ALL, catalogue, seen, styles(history, both, diction or Diction(), asked or {}),
        PriceLevels(), appeal or Appeal(),
        {name: column[both] for name, column in by_slot.items()},
    )  # fmt: skip
    return {name: values.tolist() for name, values in found.items()}


def test_a_brand_opened_draws_in_another_category_and_one_passed_over_repels(
    catalogue: Catalogue,
) -> None:
    found = effects_of(catalogue, shown_to(1, T, [0, 1], opened=[0]))
    brand = found["effect_brand"]
    assert brand[2] == brand[0] > 0 > brand[1] == brand[3]
    assert brand[4] == 0
    assert found["effect_category"][0] > found["effect_category"][2]
    # A size says nothing of another family's; of its own it does, though here all are alike.
    assert found["effect_size"][0] == found["effect_size"][1] != 0 == found["effect_size"][2]
    parts = [values for name, values in found.items() if name != "effect"]
    assert found["effect"] == pytest.approx(np.sum(parts, axis=0))


def test_who_was_shown_nothing_leans_nowhere(catalogue: Catalogue) -> None:
    found = effects_of(catalogue, shown_to(1, T, [0, 1], opened=[0]), person=2)
    assert all(value == 0 for values in found.values() for value in values)


def test_what_stood_in_a_slot_before_the_listing_there_now_is_not_read(
    catalogue: Catalogue,
) -> None:
    earlier = effects_of(catalogue, shown_to(1, T - 1, [0, 1], opened=[0]))
    assert all(value == 0 for values in earlier.values() for value in values)


def test_a_slot_without_a_vector_yet_is_not_read(catalogue: Catalogue) -> None:
    beyond = effects_of(catalogue, shown_to(1, T, [0, 1, 99], opened=[0, 99]))
    assert beyond["effect_brand"][0] > 0


def test_what_was_said_speaks_for_a_listing_and_is_not_counted_twice_when_it_is_opened(
    catalogue: Catalogue,
) -> None:
    shown = shown_to(1, T, [0, 1], opened=[0])
    searched = {"searched_brand": [1.0, 0, 1.0, 0, 0]}
    found, silent = effects_of(catalogue, shown, **searched), effects_of(catalogue, shown)
    assert found["effect_said"] == pytest.approx([0.6, 0, 0.6, 0, 0], abs=1e-3)
    assert 0 < found["effect_brand"][0] < silent["effect_brand"][0]
    assert found["effect"][2] > silent["effect"][2]


def test_another_department_and_another_size_speak_against_it(catalogue: Catalogue) -> None:
    said = effects_of(
        catalogue, Shown(), department_stated=[1, 1, 1, 1, 0.0], size_gap=[0, 1, 9, np.nan, 0]
    )["effect_said"]
    assert said == pytest.approx([0, -0.35, -1.05, 0, -2.5], abs=1e-3)


def test_what_everybody_opens_says_little_of_who_opens_it(catalogue: Catalogue) -> None:
    class Loved(Appeal):
        def of(self, slots: np.ndarray, prices: PriceLevels) -> np.ndarray:
            return np.where(slots == 0, 3.0, 0.0)

    shown = shown_to(1, T, [0, 1], opened=[0])
    plain, loved = effects_of(catalogue, shown), effects_of(catalogue, shown, appeal=Loved())
    assert loved["appeal"] == [3, 0, 0, 0, 0]
    assert 0 < loved["effect_brand"][2] < plain["effect_brand"][2]


def test_a_style_opened_draws_in_other_words_and_one_passed_over_repels(
    catalogue: Catalogue, diction: Diction
) -> None:
    found = effects_of(catalogue, shown_to(1, T, [0, 1], opened=[0]), diction=diction)
    style = found["effect_style"]
    # Other words of the same style draw and repel at least half as much.
    assert style[2] > style[0] / 2 > 0 > style[1] / 2 > style[3]
    parts = [values for name, values in found.items() if name != "effect"]
    assert found["effect"] == pytest.approx(np.sum(parts, axis=0))


def test_a_style_is_remembered_longer_than_the_rest(catalogue: Catalogue, diction: Diction) -> None:
    shown = shown_to(1, T, [0, 1], opened=[0])
    early = effects_of(catalogue, shown, diction=diction)
    shown_to(1, T, [4] * (PLACES // 4), opened=[], after=shown)
    late = effects_of(catalogue, shown, diction=diction)
    assert early["effect_brand"][0] > 0 == late["effect_brand"][0]
    assert np.corrcoef(early["effect_style"], late["effect_style"])[0, 1] > 0.99
    assert late["effect_style"][2] > late["effect_style"][0] / 2 > 0


def test_what_a_style_explains_is_not_counted_again(catalogue: Catalogue, diction: Diction) -> None:
    shown = shown_to(1, T, [0, 1], opened=[0])
    styled, plain = effects_of(catalogue, shown, diction=diction), effects_of(catalogue, shown)
    assert 0 < styled["effect_brand"][0] < plain["effect_brand"][0]
    assert plain["effect_style"] == [0] * len(SHELF)


def test_who_asked_for_a_brand_leans_to_its_style_before_any_choice(
    catalogue: Catalogue, diction: Diction
) -> None:
    def style(**asked: float) -> list[float]:
        return effects_of(catalogue, Shown(), diction=diction, asked=asked)["effect_style"]

    assert style(ganni=1.0)[2] > 0.05 > -0.05 > style(ganni=1.0)[3]
    assert style(cos=1.0)[3] > 0.05 > -0.05 > style(cos=1.0)[2]
    assert 0 < style(ganni=0.5)[2] < style(ganni=1.0)[2] == style(ganni=3.0)[2]
    assert style(nobody=1.0) == [0] * len(SHELF)
