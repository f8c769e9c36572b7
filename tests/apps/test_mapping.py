"""Mapping: a wrong one is refused whole; a right one gives the events that happened, in order."""

from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from heirloom.apps.history import events_from, listings_from
from heirloom.apps.mapping import by_own_names, load_mapping
from heirloom.core.catalogue import Catalogue
from heirloom.core.errors import ConfigError, InputError
from heirloom.core.event import Event, problem
from heirloom.core.log import Rejected
from heirloom.pipelines.ingest import Ingest
from heirloom.testing.memory import MemoryAnteroom, MemoryLog

DAY_MS = 86_400_000
SHOP = """
timezone = "Europe/Vilnius"

[listings]
listing_id = "sku"
seller = { column = "shop", default = "nobody" }
title = { columns = ["brand", "name"], join = " " }
category = { columns = ["department", "type"] }
brand = { column = "brand", map = { "miumiu" = "Miu Miu" } }
hashtags = { column = "tags", split = "," }
price = { column = "euros", scale = 100 }
listed_at = { column = "added", format = "%d.%m.%Y" }
sold_at = { column = "gone", format = "iso" }

[[events]]
kind = { column = "what", map = { view = "click", fav = "save" } }
t = { column = "ts", format = "s" }
user = "who"
listing = "sku"

[[events]]
where = { what = ["ad"] }
kind = "impression"
t = { column = "ts", format = "s" }
user = "who"
surface = { constant = "home" }
listings = { column = "shown", split = "|" }
positions = { column = "at", split = "|" }

[declared]
size = "fits"
age = { column = "age", between = [14, 90], bands = [20, 30] }
"""
LISTINGS = """sku,shop,brand,name,department,type,tags,euros,added,gone
007,anna,miumiu,silk dress,women,dresses/midi,"a, b",12.345,01.07.2021,2021-07-03T12:00:00+02:00
008,,,cap,men,,,,02.07.2021,
"""
# Vilnius is three hours ahead of UTC in July.
JULY_1 = 1_625_097_600_000 - 3 * 3_600_000
EVENTS = f"""what,ts,who,sku,shown,at,fits,age
fav,{(JULY_1 + 2 * DAY_MS) // 1000},u1,008,,,M,33
view,{(JULY_1 + DAY_MS) // 1000},u1,007,,,38.0,19.5
view,{(JULY_1 + DAY_MS) // 1000},u1,007,,,38.0,19.5
ad,{(JULY_1 + DAY_MS) // 1000 + 1},u2,,007|008,0|4,,117
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "mapping.toml").write_text(SHOP)
    (tmp_path / "listings.csv").write_text(LISTINGS)
    (tmp_path / "events.csv").write_text(EVENTS)
    return tmp_path


def read(folder: Path, toml: str = "") -> list[Event | Rejected]:
    if toml:
        (folder / "mapping.toml").write_text(toml)
    files = [
        path if path.exists() else None for path in (folder / "listings.csv", folder / "events.csv")
    ]
    mapping = load_mapping(folder / "mapping.toml", listings=files[0], events=files[1])
    return list(events_from(*files, mapping))


def taken(folder: Path, toml: str = "") -> list[Event]:
    events = [event for event in read(folder, toml) if isinstance(event, Event)]
    assert [problem(event, event.t) for event in events] == [None] * len(events)
    return events


# ── a right mapping ────────────────────────────────────────────────────────────────────────────


def test_a_shops_tables_become_events_by_time(folder: Path) -> None:
    rejected = [event for event in read(folder) if isinstance(event, Rejected)]
    assert rejected == []
    # the part with a mapped kind reads the `ad` row too: its kind is none of ours
    events = [event for event in read(folder) if isinstance(event, Event)]
    assert [(event.kind, event.listing, event.t - JULY_1) for event in events] == [
        ("listed", "007", 0),
        ("listed", "008", DAY_MS),
        ("click", "007", DAY_MS),
        ("click", "007", DAY_MS),
        ("ad", None, DAY_MS + 1_000),
        ("impression", None, DAY_MS + 1_000),
        ("save", "008", 2 * DAY_MS),
        ("sold", "007", 2 * DAY_MS + 13 * 3_600_000),
    ]


def test_a_listing_is_what_its_columns_say(folder: Path) -> None:
    first, second = (event.data for event in read(folder)[:2] if isinstance(event, Event))
    assert first is not None
    assert (first.listing_id, first.seller, first.title) == ("007", "anna", "miumiu silk dress")
    assert (first.brand, first.category) == ("Miu Miu", "women/dresses midi")
    assert first.hashtags == ("a", "b")
    assert (first.price_minor, first.currency) == (1_234, "EUR")  # 12.345 euros: half to even
    assert first.listed_at == JULY_1
    assert second is not None
    assert (second.seller, second.title, second.category, second.price_minor) == (
        "nobody",
        "cap",
        "men",
        0,
    )


def test_declared_attributes_and_bands(folder: Path) -> None:
    clicks = [event for event in read(folder) if isinstance(event, Event) and event.user]
    attributes = [event.attributes for event in clicks]
    assert attributes[0] == {"size": "38", "age": "<20"}
    assert attributes[-1] == {"size": "M", "age": "30+"}
    assert attributes[-2] == {}  # 117 years are none


def test_an_impression_has_its_listings_and_positions(folder: Path) -> None:
    (shown,) = (e for e in read(folder) if isinstance(e, Event) and e.kind == "impression")
    assert (shown.listings, shown.positions, shown.surface) == (("007", "008"), (0, 4), "home")


def test_ids_are_of_content_so_the_order_of_rows_is_free(folder: Path) -> None:
    ids = [event.event_id for event in read(folder) if isinstance(event, Event)]
    assert len(set(ids)) == len(ids)  # two equal clicks are two clicks
    header, *rows = EVENTS.splitlines()
    (folder / "events.csv").write_text("\n".join([header, *rows[::-1]]) + "\n")
    assert sorted(ids) == sorted(e.event_id for e in read(folder) if isinstance(e, Event))


RENTALS = """
[listings]
from = "events"
listing_id = "item"
category = "kind"
seller = { constant = "shop" }
listed_at = { column = "day", format = "date" }

[[events]]
kind = "purchase"
t = { column = "day", format = "date" }
user = "who"
listing = "item"
"""


def test_without_a_table_of_listings_the_first_event_that_names_one_lists_it(
    folder: Path,
) -> None:
    (folder / "events.csv").write_text(
        "item,kind,who,day\n2,gown,u1,2020-01-02\n1,top,u1,2020-01-01\n2,coat,u2,2020-01-01\n"
    )
    events = taken(folder, RENTALS)
    day = 1_577_836_800_000
    assert [(event.kind, event.listing, event.t - day) for event in events] == [
        ("listed", "1", 0),
        ("listed", "2", 0),
        ("purchase", "1", 0),
        ("purchase", "2", 0),
        ("purchase", "2", DAY_MS),
    ]
    assert [event.data.category for event in events if event.data] == ["top", "coat"]


def test_all_may_be_listed_at_the_beginning(folder: Path) -> None:
    (folder / "events.csv").write_text("item,kind,who,day\n1,a,u,2020-01-01\n2,b,u,2020-01-03\n")
    toml = RENTALS.replace(
        'listed_at = { column = "day", format = "date" }', 'listed = "beginning"'
    )
    listed = [event for event in taken(folder, toml) if event.kind == "listed"]
    assert [(event.listing, event.t) for event in listed] == [
        ("1", 1_577_836_800_000),
        ("2", 1_577_836_800_000),
    ]


@settings(deadline=None, max_examples=25)
@given(
    st.lists(
        st.tuples(st.sampled_from("abc"), st.sampled_from("uv"), st.integers(1, 3)),
        min_size=1,
        max_size=12,
    )
)
def test_importing_twice_adds_nothing(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, str, int]]
) -> None:
    folder = tmp_path_factory.mktemp("rentals")
    text = "".join(f"{item},gown,{who},2020-01-0{day}\n" for item, who, day in rows)
    (folder / "events.csv").write_text("item,kind,who,day\n" + text)
    log, anteroom = MemoryLog(), MemoryAnteroom()
    ingest = Ingest(
        log=log,
        anteroom=anteroom,
        catalogue=Catalogue(log.vocabulary()),
        currency="EUR",
        rates={},
        apply=lambda _: None,
    )
    first = ingest.ingest(read(folder, RENTALS), now_ms=None, source="csv")
    assert first.taken == len(rows) + len({item for item, _, _ in rows})
    second = ingest.ingest(read(folder), now_ms=None, source="csv")
    assert (second.taken, second.duplicate) == (0, first.taken)
    assert anteroom.counts() == (0, 0)


# ── rows that cannot be read ───────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (",gown,u1,2020-01-02", "listing_id is empty"),
        ("1,gown,u1,", "listed_at is empty"),
        ("1,gown,u1,2020-02-30", "listed_at: '2020-02-30' is no time; wanted date"),
        ("1,gown", "2 fields; wanted 4, as in the header"),
    ],
)
def test_a_row_that_cannot_be_read_is_rejected_with_its_line(
    folder: Path, row: str, reason: str
) -> None:
    (folder / "events.csv").write_text(f"item,kind,who,day\n2,top,u1,2020-01-01\n{row}\n")
    events = read(folder, RENTALS)
    rejected = [event for event in events if isinstance(event, Rejected)]
    assert (rejected[0].source, rejected[0].reason) == ("events.csv:3", reason)
    assert [e.listing for e in events if isinstance(e, Event) and e.kind == "listed"] == ["2"]


def test_numbers_that_are_none_reject_their_row(folder: Path) -> None:
    (folder / "listings.csv").write_text(LISTINGS.replace("12.345", "twelve"))
    (rejected,) = (event for event in read(folder) if isinstance(event, Rejected))
    assert rejected.reason == "price: 'twelve' is no number"
    assert b'"sku":"007"' in rejected.raw


def test_listings_for_a_simulation_are_all_valid_or_refused(folder: Path) -> None:
    mapping = load_mapping(folder / "mapping.toml")
    path = folder / "listings.csv"
    assert [listing.listing_id for listing in listings_from(path, mapping)] == ["007", "008"]
    path.write_text(LISTINGS.replace("01.07.2021", "soon"))
    with pytest.raises(InputError, match=r"1 rows give no listing: .*'soon' is no time"):
        listings_from(path, mapping)


# ── a wrong mapping ────────────────────────────────────────────────────────────────────────────


def test_all_that_is_wrong_is_said_at_once(folder: Path) -> None:
    wrong = """
    timezone = "Europe/Vilnus"
    currancy = "EUR"
    [listings]
    listing_id = "skuu"
    sellar = "shop"
    price = { column = "euros", scale = "hundred", skale = 100 }
    listed_at = "added"
    [[events]]
    kind = "purchased"
    t = { column = "ts", format = "seconds" }
    user = "whom"
    [[events]]
    kind = "search"
    t = { column = "ts", format = "s" }
    [declared]
    age = { column = "age", columns = ["fits"], bands = [30, 20] }
    """
    with pytest.raises(ConfigError) as caught:
        read(folder, wrong)
    problems = "\n".join(caught.value.problems)
    for words in (
        "currancy: there is no such key; did you mean 'currency'?",
        "listings.listing_id: there is no column 'skuu'; did you mean 'sku'?",
        "listings.sellar: there is no such key; did you mean 'seller'?",
        "listings.seller: is missing",
        "listings.price.scale: ",
        "listings.price.skale: there is no such key; did you mean 'scale'?",
        "listings.listed_at: say its format (ms, s, us, iso, date or a pattern)",
        "format is 'seconds'; wanted ms, s, us, iso, date, or a strptime pattern",
        "events.0.user: there is no column 'whom'; did you mean 'who'?",
        "events.1: a search event needs `user` or `session`",
        "declared.age: wanted one of column, columns, constant; 2 are given",
    ):
        assert words in problems


@pytest.mark.parametrize(
    ("toml", "problem"),
    [
        ("timezone = 'UTC'", "wanted [listings] or [[events]] or both; there is none"),
        (SHOP.replace("Vilnius", "Vilnus"), "did you mean 'Europe/Vilnius'?"),
        (SHOP.replace('"impression"', '"impresion"'), "did you mean 'impression'?"),
        (SHOP.replace("[20, 30]", "[30, 20]"), "bands must ascend; came [30.0, 20.0]"),
        ("[listings", "not TOML: "),
        (RENTALS.replace("listed_at", "# "), 'or say listed = "beginning"'),
        (RENTALS.replace('listing = "item"', ""), "a purchase event needs `listing`"),
    ],
)
def test_each_mistake_has_its_sentence(tmp_path: Path, toml: str, problem: str) -> None:
    (tmp_path / "mapping.toml").write_text(toml)
    with pytest.raises(ConfigError) as caught:
        load_mapping(tmp_path / "mapping.toml")
    assert problem in str(caught.value)


def test_a_mapping_without_its_file(folder: Path) -> None:
    with pytest.raises(ConfigError, match="there is no such file"):
        load_mapping(folder / "nothing.toml")
    mapping = load_mapping(folder / "mapping.toml")
    with pytest.raises(ConfigError, match="give --events"):
        events_from(folder / "listings.csv", None, mapping)


def test_a_missing_column_is_refused_before_anything_is_taken(folder: Path) -> None:
    mapping = load_mapping(folder / "mapping.toml")
    (folder / "events.csv").write_text("what,who,sku\nview,u1,007\n")
    with pytest.raises(ConfigError) as caught:
        events_from(folder / "listings.csv", folder / "events.csv", mapping)
    assert "events.0.t: there is no column 'ts'" in str(caught.value)
    assert "declared.size: there is no column 'fits'" in str(caught.value)


# ── kinds of file ──────────────────────────────────────────────────────────────────────────────


def test_csv_jsonl_and_parquet_give_the_same_events(folder: Path) -> None:
    expected = read(folder)
    for path in (folder / "listings.csv", folder / "events.csv"):
        frame = pl.read_csv(path, infer_schema=False)
        frame.write_ndjson(path.with_suffix(".jsonl"))
        frame.write_parquet(path.with_suffix(".parquet"))
    mapping = load_mapping(folder / "mapping.toml")
    for suffix in (".jsonl", ".parquet"):
        files = [folder / f"{name}{suffix}" for name in ("listings", "events")]
        assert list(events_from(*files, mapping)) == expected


def test_typed_columns_need_no_format(folder: Path) -> None:
    frame = pl.DataFrame(
        {"item": [1.0, 2.0], "kind": ["a", "b"], "who": [1, 2], "day": ["2020-01-01", "2020-01-02"]}
    ).with_columns(pl.col("day").str.to_date())
    frame.write_parquet(folder / "events.parquet")
    path = folder / "typed.toml"
    path.write_text(RENTALS.replace('{ column = "day", format = "date" }', '"day"'))
    events = list(events_from(None, folder / "events.parquet", load_mapping(path)))
    assert [(e.listing, e.user) for e in events if isinstance(e, Event)] == [
        ("1", None),
        ("1", "1"),
        ("2", None),
        ("2", "2"),
    ]


def test_columns_that_bear_our_names_need_no_mapping(tmp_path: Path) -> None:
    stock = pl.DataFrame(
        {
            "listing_id": ["a", "b"],
            "seller": ["s", "s"],
            "title": ["silk dress", "wool coat"],
            "price": [19.5, 120.0],
            "listed_at": ["2025-01-01", "2025-01-02T10:00:00Z"],
            "weight": [1, 2],
        }
    )
    stock.write_csv(tmp_path / "stock.csv")
    path = tmp_path / "stock.csv"
    found = listings_from(path, by_own_names(path))
    assert [(one.listing_id, one.title, one.price_minor) for one in found] == [
        ("a", "silk dress", 1950),
        ("b", "wool coat", 12_000),
    ]
    stock.drop("seller", "listed_at").write_csv(path)
    with pytest.raises(ConfigError, match="no column named seller, listed_at; there are listing_i"):
        by_own_names(path)
