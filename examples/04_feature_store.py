"""One definition, two ways to compute it, the same bytes; and a new one filled from the past.

    python examples/04_feature_store.py

The same view in a system: offer it by entry point (`heirloom.views`), name it in the TOML, run
`heirloom features publish`, and ask `heirloom features explain LISTING --person P`.
"""

import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np

from heirloom.apps.build import System
from heirloom.apps.demo import simulate_into
from heirloom.apps.progress import Silent
from heirloom.apps.settings import load
from heirloom.core.errors import ConfigError
from heirloom.core.event import Event
from heirloom.core.query import Query
from heirloom.features.algebra import Age, Counter, Ratio, SinceLast
from heirloom.features.explain import explain
from heirloom.features.published import Published
from heirloom.features.view import FeatureView

LAPTOP = Path(__file__).parents[1] / "systems" / "laptop.toml"

SEEN = Counter("listing_seen", ("listing",), ("impression",), ("24h", "7d"), "How often shown.")
SAVED = Counter("listing_saved", ("listing",), ("save",), ("24h", "7d"), "How often saved.")
# The new feature: do saves of this brand by this person say something about the next one?
LOYAL = Counter("person_brand_saved", ("person", "brand"), ("save",), ("30d",), "Loyalty.")
RATE = Ratio("save_rate", SAVED, SEEN, ("7d",), (1.0, 50.0), about="Saves per impression.")
VIEW = FeatureView("saves", (SEEN, SAVED, LOYAL, RATE, Age("age")), owner="ranking")


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        system = System(load(LAPTOP, folder=folder))
        simulate_into(system, "tiny", 0, None, Silent())
        log, n = system.log, system.log.end()
        user = system.people_examples(1)[0][0]
        request = system.live.request(Query(t=system.now_ms(), user=user))
        slots = np.unique(request.recent)[:3]

        # Live: the log comes in batches of whatever size, and lookups go on in between.
        live = VIEW.state()
        for start in range(0, n, 97):
            live.apply(log.facts(start, min(start + 97, n)))
            live.lookup(request, slots)
        served = live.lookup(request, slots)
        print(f"{VIEW.name}@{VIEW.version}, {user} at offset {served.n}:")
        for slot, row in zip(slots, served.values, strict=True):
            listing = system.live.catalogue.listing(int(slot)).listing_id
            names = (column.partition(".")[2] for column in served.columns)
            print(f"  {listing}", {k: round(float(v), 4) for k, v in zip(names, row, strict=True)})

        # Replay: the whole log at once, to the same offset. Not close: the same bytes.
        replayed = VIEW.state()
        replayed.apply(log.facts(0, n))
        same = replayed.lookup(request, slots).values.tobytes() == served.values.tobytes()
        print(f"\nserved = replayed, bit for bit: {same}")

        # Where a value comes from, by a plain reading of the log that shares no code with it.
        made = explain(VIEW, lambda: [log.facts(0, n)], request, int(slots[0]))
        for each in made:
            newest = [f"{m.kind} at offset {m.seq}" for e in each.evidence for m in e.newest[:1]]
            print(f"  {each.column:<24} {each.value:9.4f}  {each.how}  {newest}")

        # A definition added today: filled from the log to offset n, live from n on. No seam.
        idle = SinceLast("brand_idle", ("person", "brand"), ("save",), "Back for more, or done.")
        wider = FeatureView("saves", (*VIEW.features, idle), owner="ranking")
        backfilled = wider.state()
        backfilled.apply(log.facts(0, n))
        saved = system.live.catalogue.listing(int(slots[0])).listing_id
        for i in range(3):
            now = system.now_ms()
            system.ingest([Event(event_id=f"s{i}", kind="save", t=now, user=user, listing=saved)])
            backfilled.apply(log.facts(backfilled.n))
        from_the_start = wider.state()
        from_the_start.apply(log.facts())
        then = system.live.request(Query(t=system.now_ms(), user=user))
        one, other = (state.lookup(then, slots) for state in (backfilled, from_the_start))
        same = one.values.tobytes() == other.values.tobytes()
        print(f"\n{wider.name}@{wider.version} went live at {n}, now at {one.n}: brand_idle "
              f"{one.values[0, -1]:.4f}; as if it had always been there: {same}")  # fmt: skip

        # What is published keeps its meaning: the same name with other content is refused.
        published = Published().publish(wider, offset=n, t=system.now_ms())
        try:
            published.check(FeatureView("saves", (replace(SAVED, windows=("7d",)), SEEN, LOYAL)))
        except ConfigError as error:
            print(f"\n{error}")
        system.close()


if __name__ == "__main__":
    main()
