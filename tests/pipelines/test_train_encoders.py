from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch

from heirloom.core.errors import BundleError, InputError
from heirloom.core.event import KIND_CODE, Event, Kind
from heirloom.core.listing import Listing
from heirloom.core.log import Entry
from heirloom.encoders.history import Histories
from heirloom.encoders.question import Questions
from heirloom.encoders.training.fit import Recipe
from heirloom.encoders.training.objective import Sampling
from heirloom.pipelines.train_encoders import FOREVER, EncoderRecipe, capture, train_encoders

HOUR = 3_600_000
START = 1_735_689_600_000
BRANDS = ("alba", "boreas", "cos", "dune", "elm", "fir")


def entries(events: list[Event]) -> Iterator[Entry]:
    for seq, event in enumerate(events):
        yield Entry(event=event, ingested_at=event.t, event_row=b"", listing_rows=b"", seq=seq)


def event(kind: Kind, hours: float, **fields: object) -> Event:
    t = START + int(hours * HOUR)
    return Event(event_id=f"{kind}{hours}{fields}", kind=kind, t=t, **fields)  # type: ignore[arg-type]


def written(name: str, **fields: object) -> Listing:
    return Listing(**{"listing_id": name, "seller": "s", "title": name, **fields})  # type: ignore[arg-type]


def test_a_listing_stands_as_it_was_written_when_it_was_acted_on() -> None:
    old, new = written("a", title="old"), written("a", title="new")
    other = written("b", price_minor=500)
    captured = capture(
        entries(
            [
                event(Kind.LISTED, 0, data=old),
                event(Kind.LISTED, 1, data=other),
                event(Kind.CLICK, 2, user="p", listing="a", surface="home"),
                event(Kind.CLICK, 2.5, user="p", listing="unknown"),
                event(Kind.HIDE, 2.6, user="p", listing="b"),
                event(Kind.EDITED, 3, data=new),
                event(Kind.SAVE, 4, user="p", listing="a"),
                event(Kind.CLICK, 4, listing="a"),
                event(Kind.CLICK, 5, session="q", listing="b"),
                event(Kind.PRICE_CHANGED, 6, listing="b", price_minor=300),
                event(Kind.SOLD, 7, listing="a"),
            ]
        )
    )
    assert [(one.title, one.price_minor) for one in captured.listings] == [
        ("old", 0), ("b", 500), ("new", 0), ("b", 300),
    ]  # fmt: skip
    hours = [(b - START) / HOUR for b in captured.begin[1:].tolist()]
    assert hours == [0, 1, 3, 6]
    ends = captured.end[1:].tolist()
    assert [(e - START) / HOUR for e in ends[:3]] == [3, 6, 7]
    assert ends[3] == FOREVER
    assert captured.people == ("p", "session:q")
    assert captured.histories.items.tolist() == [1, 3, 2]
    assert captured.histories.kinds.tolist() == [
        KIND_CODE[Kind.CLICK], KIND_CODE[Kind.SAVE], KIND_CODE[Kind.CLICK]
    ]  # fmt: skip
    assert not captured.histories.surfaces.any()  # People keeps none: serving would not know


def test_a_question_is_what_was_known_before_the_action() -> None:
    early, late = {"brands": ["cos"]}, {"brands": ["cos", "elm"], "shoe_size": "38"}
    captured = capture(
        entries(
            [event(Kind.LISTED, 0, data=written(name)) for name in "ab"]
            + [
                event(Kind.CLICK, 1, user="p", listing="a", surface="home"),
                event(Kind.PREFER, 2, user="p", attributes=early),
                event(Kind.CLICK, 3, user="p", listing="a", surface="search", text="red dress"),
                event(
                    Kind.IMPRESSION, 4, user="p", slate="z", surface="similar", listings=("a",),
                    text="boots", attributes={"anchor": "b"},
                ),
                event(Kind.MESSAGE, 5, user="p", listing="a", slate="z", text="still there?"),
                event(Kind.PREFER, 6, user="p", attributes=late),
                event(Kind.CLICK, 7, user="p", listing="b", slate="z", text="boots"),
                event(Kind.CLICK, 8, user="q", listing="b", text=" "),
            ]
        )
    )  # fmt: skip
    questions = captured.questions
    assert questions.surfaces.tolist() == [1, 3, 0, 0, 0]

    def said(rows: list[int]) -> list[str]:
        return [captured.written[row - 1].title if row else "" for row in rows]

    assert said(questions.texts.tolist()) == ["", "red dress", "boots", "boots", ""]
    assert said(questions.anchors.tolist()) == ["", "", "b", "b", ""]
    wishes = [
        [(captured.written[row - 1].brand, captured.written[row - 1].size) for row in wish if row]
        for wish in questions.wished[questions.wishes].tolist()
    ]
    once, twice = [("cos", "")], [("cos", "38"), ("elm", "38")]
    assert wishes == [[], once, once, twice, []]
    assert questions.items == len(captured.listings) + 1
    assert captured.asked_before(START + 5 * HOUR).texts.tolist() == questions.texts[:2].tolist()


def test_newcomers_are_asked_for_on_demand() -> None:
    captured = capture(
        entries(
            [
                event(Kind.LISTED, 0, data=written("a")),
                event(Kind.PREFER, 1, user="p", attributes={"brands": "cos"}),
                event(Kind.CLICK, 2, user="p", listing="a"),
            ]
        )
    )
    assert len(captured.actions(START, START + 9 * HOUR, 9).targets) == 0
    asked = captured.actions(START, START + 9 * HOUR, 9, earlier=0)
    assert asked.targets.tolist() == [1]
    assert len(asked.histories.items) == 0
    table = np.eye(3, dtype=np.float32)
    assert asked.asked(table).vectors[0].tolist() == [[0, 0, 0], [0, 0, 1], [0, 0, 0]]


def test_of_whom_nothing_is_known_the_middle_is_foretold() -> None:
    names = "abcde"
    captured = capture(
        entries(
            [event(Kind.LISTED, 0, data=written(name)) for name in names]
            + [event(Kind.CLICK, 1, user="p", listing="b")]
        )
    )
    asked = captured.actions(START, START + 9 * HOUR, 9, earlier=0)
    people, vectors = np.zeros((1, 1, 2), np.float32), np.ones((6, 2), np.float32)
    assert captured.places(asked, people, vectors).tolist() == [3]


def test_a_log_without_actions_is_refused() -> None:
    with pytest.raises(InputError, match="written 1 times, and nobody acted"):
        capture(entries([event(Kind.LISTED, 0, data=written("a"))]))


def test_what_is_asked_knows_the_past_alone() -> None:
    captured = capture(
        entries(
            [event(Kind.LISTED, 0, data=written(name)) for name in "abcd"]
            + [
                event(Kind.CLICK, 1, user="p", listing="a"),
                event(Kind.CLICK, 2, user="p", listing="b"),
                event(Kind.CLICK, 2, user="p", listing="c"),
                event(Kind.CLICK, 3, user="p", listing="a"),
                event(Kind.CLICK, 4, user="q", listing="d"),
            ]
        )
    )
    asked = captured.actions(START, START + 9 * HOUR, 100)
    # b and c happened at one moment: neither is the other's past. a is not new; q has no past.
    assert asked.targets.tolist() == [2, 3]
    assert np.diff(asked.histories.starts).tolist() == [1, 1]
    assert asked.histories.items.tolist() == [1, 1]
    assert captured.before(START + 2 * HOUR).items.tolist() == [1]
    only = asked.only(np.array([False, True]))
    assert (only.targets.tolist(), only.histories.items.tolist()) == ([3], [1])


def test_places_are_among_the_live() -> None:
    captured = capture(
        entries(
            [event(Kind.LISTED, 0, data=written(name)) for name in "abc"]
            + [
                event(Kind.CLICK, 1, user="p", listing="a"),
                event(Kind.SOLD, 2, listing="b"),
                event(Kind.CLICK, 3, user="p", listing="c"),
            ]
        )
    )
    asked = captured.actions(START, START + 9 * HOUR, 100)
    vectors = np.array([[0, 0], [1, 0], [1, 0], [0, 1]], np.float32)
    towards_ab = np.array([[[1, 0.5]]], np.float32)
    assert captured.places(asked, towards_ab, vectors).tolist() == [2]  # b is sold; a is above c


def fashion(seed: int, *, branded: bool = True) -> list[Event]:
    """Each person keeps to one brand; new listings come all the time."""
    rng = np.random.default_rng(seed)
    events = []
    names: list[list[str]] = [[] for _ in BRANDS]
    for hour in range(240):
        for brand, name in enumerate(BRANDS):
            brand_written = name if branded else ""
            data = written(f"{name}{hour}", title="worn", brand=brand_written, price_minor=1_000)
            events.append(event(Kind.LISTED, hour, data=data))
            names[brand].append(f"{name}{hour}")
        for person in [*rng.permutation(60)[:12].tolist(), 100 + hour]:
            brand = person % len(BRANDS)
            asked: dict[str, object] = {"user": str(person)}
            if person >= 100 and hour // len(BRANDS) % 2:  # somebody new, who says it first
                stated = {"brands": [BRANDS[brand]]}
                events.append(event(Kind.PREFER, hour, attributes=stated, **asked))
            elif person >= 100:  # or looks for it
                asked |= {"surface": "search", "text": BRANDS[brand]}
            listing = names[brand][-1 - int(rng.integers(min(hour + 1, 20)))]
            events.append(event(Kind.CLICK, hour + 0.5, listing=listing, **asked))
    return events


class Photos:
    """What of a listing only its photo says, here by its id: which brand it is of."""

    name, dim = "photo", len(BRANDS)

    def __init__(self, model_id: str = "photos-of-brands") -> None:
        self.model_id = model_id

    def listings(self, listings: Sequence[Listing]) -> tuple[np.ndarray, np.ndarray]:
        known = np.array([not one.listing_id.endswith("7") for one in listings])
        brands = np.array([BRANDS.index(one.listing_id.rstrip("0123456789")) for one in listings])
        return np.eye(self.dim, dtype=np.float32)[brands], known

    def text(self, text: str) -> None:
        return None


@pytest.mark.parametrize("modalities", [(), (Photos(),)], ids=["written", "in the photo"])
def test_listings_unseen_in_training_are_found_by_their_content(
    modalities: tuple[Photos, ...],
) -> None:
    torch.set_num_threads(1)
    captured = capture(entries(fashion(0, branded=not modalities)))
    cut = START + 200 * HOUR
    recipe = EncoderRecipe(
        dim=16, buckets=1 << 10, judged=100,
        fit=Recipe(rows=32, epochs=4, learning_rate=0.01, sampling=Sampling(uniform=128)),
    )  # fmt: skip
    listings, person, epochs = train_encoders(captured, cut, recipe, modalities=modalities)
    person.meets(listings.model_id)
    asked = captured.actions(cut, START + 300 * HOUR, 200)
    cold = captured.begin[asked.targets] >= cut
    seen = np.array([not one.listing_id.endswith("7") for one in captured.listings])
    asked = asked.only(cold & seen[asked.targets - 1])
    vectors = np.zeros((len(captured.listings) + 1, 16), np.float32)
    vectors[1:] = listings.listings(captured.listings)
    people = person.encode(asked.histories, vectors[asked.histories.items])
    share = (captured.places(asked, people, vectors) / len(captured.listings)).mean()
    # Of six brands one is liked: within it no order can be learned, so 1/12 is the best there is.
    assert share < 0.15
    assert [epoch.number for epoch in epochs] == list(range(1, len(epochs) + 1))
    again, _, _ = train_encoders(captured, cut, recipe, modalities=modalities)
    assert again.model_id == listings.model_id
    # Newcomers who stated or seek a brand are as easy; without that nothing is known of them.
    new = captured.actions(cut, START + 300 * HOUR, 200, earlier=0)
    new = new.only((np.diff(new.histories.starts) == 0) & seen[new.targets - 1])
    vectors = np.concatenate([vectors, listings.listings(captured.asked)])
    for questions, most in ((new.asked(vectors), 0.15), (None, 1.0)):
        people = person.encode(new.histories, vectors[:0], questions)
        share = (captured.places(new, people, vectors) / len(captured.listings)).mean()
        assert share < most
    assert share > 0.4
    words = np.stack([listings.text(name) for name in BRANDS])
    asked = Questions(np.full(6, 3, np.int8), np.stack([words, 0 * words, 0 * words], axis=1))
    nobody = Histories.of_items([np.zeros(0, np.int64)] * 6)
    found = person.encode(nobody, vectors[:0], asked)[:, 0] @ vectors[1:].T
    best = found[:, : len(captured.listings)].argmax(axis=1).tolist()
    assert [captured.listings[row].listing_id.rstrip("0123456789") for row in best] == [*BRANDS]


def test_a_run_is_not_gone_on_with_over_another_model(tmp_path: Path) -> None:
    torch.set_num_threads(1)
    captured = capture(entries(fashion(0)[:600]))
    recipe = EncoderRecipe(
        dim=16, buckets=1 << 8, judged=10,
        fit=Recipe(rows=32, epochs=1, sampling=Sampling(uniform=16)),
    )  # fmt: skip
    cut, file = START + 999 * HOUR, tmp_path / "run.safetensors"
    train_encoders(captured, cut, recipe, modalities=(Photos(),), file=file)
    train_encoders(captured, cut, recipe, modalities=(Photos(),), file=file)
    for others in ((), (Photos("photos-of-others"),)):
        with pytest.raises(BundleError, match="another run"):
            train_encoders(captured, cut, recipe, modalities=others, file=file)
