"""Your own listings and events: two tables, a mapping, a report, a slate.

    python examples/02_your_own_data.py

The same from the shell: `heirloom ingest --listings shop.csv --events clicks.jsonl --mapping
mapping.toml`, then `heirloom train` and `heirloom serve`.
"""

import json
import tempfile
from pathlib import Path

from heirloom.apps.build import System
from heirloom.apps.history import events_from
from heirloom.apps.mapping import load_mapping
from heirloom.apps.settings import load
from heirloom.core.query import Query

LAPTOP = Path(__file__).parents[1] / "systems" / "laptop.toml"

LISTINGS = """\
sku;owner;name;kind;label;size;colour;asked;put up
17;mia;Silk midi dress;dresses;Ganni;38;green;45,00;2025-03-01
18;mia;Wool coat, barely worn;coats;Arket;38;grey;80,00;2025-03-01
19;noor;Linen dress with a belt;dresses;Cos;40;white;30,00;2025-03-02
20;ida;Denim jacket;jackets;Levi's;M;blue;-5,00;2025-03-02
"""

EVENTS = [
    {"who": "ada", "what": "viewed", "sku": "17", "at": "2025-03-03T10:00:00Z"},
    {"who": "ada", "what": "liked", "sku": "17", "at": "2025-03-03T10:01:00Z"},
    {"who": "ada", "what": "viewed", "sku": "99", "at": "2025-03-03T10:02:00Z"},
    {"who": "ben", "what": "stared", "sku": "18", "at": "2025-03-03T11:00:00Z"},
]

MAPPING = """\
delimiter = ";"

[listings]
listing_id = "sku"
seller = "owner"
title = "name"
category = "kind"
brand = "label"
size = "size"
colour = "colour"
price = { column = "asked", scale = 100, decimal = "," }
listed_at = { column = "put up", format = "date" }

[[events]]
kind = { column = "what", map = { viewed = "click", liked = "save" } }
user = "who"
listing = "sku"
t = { column = "at", format = "iso" }
"""


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        here = Path(folder)
        (here / "shop.csv").write_text(LISTINGS, encoding="utf-8")
        (here / "clicks.jsonl").write_text("\n".join(map(json.dumps, EVENTS)), encoding="utf-8")
        (here / "mapping.toml").write_text(MAPPING, encoding="utf-8")

        system = System(load(LAPTOP, folder=here / "data"))
        mapping = load_mapping(
            here / "mapping.toml", listings=here / "shop.csv", events=here / "clicks.jsonl"
        )
        arrivals = events_from(here / "shop.csv", here / "clicks.jsonl", mapping)
        # A price below zero and an unknown action are refused with the reason; an action on a
        # listing that is not there yet waits for it. Nothing is dropped.
        print(system.ingest_history(arrivals, source="shop"))

        slate = system.recommend(Query(t=system.now_ms(), user="ada", k=3))
        print(f"\nFor ada, {'; '.join(step.reason for step in slate.degraded)}:")
        for shown in slate.shown:
            listing = system.live.catalogue.listing(system.live.catalogue.slot_of(shown.listing))
            print(f"  {listing.title:<28} {'; '.join(map(str, shown.reasons))}")
        system.close()


if __name__ == "__main__":
    main()
