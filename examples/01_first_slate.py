"""A marketplace, a trained policy and a slate, in one screen.

python examples/01_first_slate.py
"""

import tempfile
from pathlib import Path

from heirloom.apps.build import System
from heirloom.apps.demo import simulate_into
from heirloom.apps.progress import Silent
from heirloom.apps.settings import load
from heirloom.core.event import Event, Kind
from heirloom.core.query import Query

LAPTOP = Path(__file__).parents[1] / "systems" / "laptop.toml"


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        system = System(load(LAPTOP, folder=folder))

        # Three days of a tiny simulated marketplace become events in a durable log …
        simulate_into(system, "tiny", 0, None, Silent())
        # … from which a ranker is trained, evaluated on the latest slates, and published.
        bundle, trained = system.train()
        print(f"bundle {bundle.bundle_id}: NDCG@10 {trained.metrics['ndcg@10']:.3f}, "
              f"random order {trained.metrics['ndcg@10_random']:.3f}\n")  # fmt: skip

        user, about = system.people_examples(1)[0]
        print(f"Home feed of {user} ({about}):")
        slate = system.recommend(Query(t=system.now_ms(), user=user, k=8))
        for shown in slate.shown:
            listing = system.live.catalogue.listing(int(slate.slots[shown.position]))
            print(f"  {listing.price_minor / 100:8.2f} {listing.currency}  {listing.title[:48]:<48}"
                  f"  {'; '.join(map(str, shown.reasons))}")  # fmt: skip

        # Somebody buys the first. It is in no slate that starts after this returns.
        bought = slate.shown[0].listing
        now = system.now_ms()
        system.ingest([
            Event(event_id="p1", kind=Kind.PURCHASE, t=now, user=user, listing=bought),
            Event(event_id="s1", kind=Kind.SOLD, t=now, listing=bought),
        ])  # fmt: skip
        again = system.recommend(Query(t=system.now_ms(), user=user, k=8))
        print(
            f"\nAfter {bought} was sold, still shown: {bought in [s.listing for s in again.shown]}"
        )
        system.close()


if __name__ == "__main__":
    main()
