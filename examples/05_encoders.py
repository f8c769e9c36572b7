"""Encoders learned from a log: a newcomer is known by what they state, a new listing by its words.

pip install heirloom[train]; python examples/05_encoders.py
"""

import tempfile
from pathlib import Path

from heirloom.apps.build import System
from heirloom.apps.demo import simulate_into
from heirloom.apps.progress import Silent
from heirloom.apps.settings import Settings, load
from heirloom.core.event import Event, Kind
from heirloom.core.listing import Listing
from heirloom.core.query import Query

LAPTOP = Path(__file__).parents[1] / "systems" / "laptop.toml"


def settings(folder: str) -> Settings:
    """What `[encoders] kind = "trained"` and `personal = 100` in a TOML say."""
    laptop = load(LAPTOP, folder=folder)
    quotas = {on: {**quota, "personal": 100} for on, quota in laptop.policy.quotas.items()}
    return laptop.model_copy(
        update={
            "policy": laptop.policy.model_copy(update={"quotas": quotas}),
            "encoders": laptop.encoders.model_copy(update={"kind": "trained", "epochs": 20}),
        }
    )


def show(system: System, what: str, query: Query) -> list[str]:
    """The retriever `personal` alone: what is near to the person's vector."""
    live = system.live
    found = live.retrievers["personal"].retrieve(live.request(query), live.catalogue.live, 5)
    print(f"\n{what}:")
    for slot, score in zip(found.slots.tolist(), found.scores.tolist(), strict=True):
        listing = live.catalogue.listing(slot)
        print(f"  {score:5.3f}  {listing.title[:44]:<44}  {listing.category}, {listing.brand}")
    return [live.catalogue.listing(int(slot)).listing_id for slot in found.slots]


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        system = System(settings(folder))
        simulate_into(system, "tiny", 0, None, Silent())
        # The earlier part of the log teaches the encoders, the rest the ranker; both lie in the
        # bundle. Publishing it encodes the stock anew.
        bundle, _ = system.train()
        print(f"bundle {bundle.bundle_id}\n  {system.encoders.model_id}")

        now = system.now_ms()
        user, about = system.people_examples(1)[0]
        show(system, f"{user}, {about}", Query(t=now, user=user))
        # Nobody knows this person. What they state is read as listings that have just that.
        stated = {"department": "men", "shoe_size": "43", "brands": ["Gucci"]}
        show(system, f"A newcomer who states {stated}", Query(t=now, attributes=stated))
        asked = Query(t=now, surface="search", text="black leather bag")
        show(system, f"Anybody who asks for {asked.text!r}", asked)

        # A listing that nobody has seen is found as soon as the event is acknowledged.
        new = Listing(
            listing_id="new", seller="s", title="Black leather bag", category="women/bags/totes",
            colour="black", material="leather", price_minor=9_000,
        )  # fmt: skip
        system.ingest([Event(event_id="n", kind=Kind.LISTED, t=now, listing="new", data=new)])
        live = system.live
        beside = live.request(Query(t=now, surface="similar", anchor="new"))
        near = live.retrievers["similar"].retrieve(beside, live.catalogue.live, 3)
        titles = [live.catalogue.listing(int(slot)).title for slot in near.slots]
        print(f"\nBeside the new bag: {'; '.join(titles)}")
        system.close()


if __name__ == "__main__":
    main()
