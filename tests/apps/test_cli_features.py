"""`heirloom features`: what is listed, published and explained, and what is refused."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from heirloom.adapters import published as publications
from heirloom.apps import explanation
from heirloom.apps.build import System
from heirloom.apps.cli import app
from heirloom.apps.parts import view_of
from heirloom.apps.registry import Registry
from heirloom.apps.settings import load
from heirloom.core.errors import ConfigError, HeirloomError, InputError, NotFoundError
from heirloom.core.event import Event, Kind
from heirloom.core.facts import Facts
from heirloom.core.listing import Listing
from heirloom.features.library import marketplace_view
from heirloom.features.published import Published
from heirloom.features.view import FeatureView
from heirloom.pipelines.given import ORIGINS

LAPTOP = Path(__file__).parents[2] / "systems" / "laptop.toml"
T0, HOUR = 1_750_000_000_000, 3_600_000


def events() -> Iterator[Event]:
    for i, brand in enumerate(("arket", "cos")):
        listing = Listing(listing_id=f"l{i}", seller="mia", title="Coat", brand=brand,
                          category="women/coats", price_minor=5_000)  # fmt: skip
        yield Event(event_id=f"e{i}", kind=Kind.LISTED, t=T0 + i, listing=f"l{i}", data=listing)
    yield Event(event_id="i", kind=Kind.IMPRESSION, t=T0 + HOUR, user="anna",
                listings=("l1", "l0"), surface="search", text="coat")  # fmt: skip
    for i, listing in enumerate(("l0", "l1", "l0")):
        yield Event(event_id=f"c{i}", kind=Kind.CLICK, t=T0 + (2 + i) * HOUR, user="anna",
                    listing=listing)  # fmt: skip
    yield Event(event_id="c3", kind=Kind.CLICK, t=T0 + 9 * HOUR, user="ben", listing="l0")


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the log of two listings and two people. Tests only read it."""
    folder = tmp_path_factory.mktemp("features")
    system = System(load(LAPTOP, folder=folder), answering=False)
    assert system.ingest_history(events(), source="test").taken == 7
    system.close()
    return folder


def run(folder: Path, *arguments: str) -> tuple[int, str]:
    """Exit status and what was printed; our own errors are raised."""
    where = ["--system", str(LAPTOP), "--folder", str(folder)]
    result = CliRunner().invoke(app, ["features", *arguments, *where], env={"COLUMNS": "200"})
    if isinstance(result.exception, HeirloomError):
        raise result.exception
    return result.exit_code, result.stdout


def explained(folder: Path, *arguments: str) -> dict[str, Any]:
    status, printed = run(folder, "explain", *arguments, "--json")
    assert status == 0
    return json.loads(printed)


def by_column(told: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {value["column"]: value for value in told["values"]}


def test_all_definitions_are_listed_with_version_unit_columns_and_memory(shop: Path) -> None:
    status, printed = run(shop, "--json")
    told = json.loads(printed)
    assert (status, told["n"]) == (0, 7)
    view = marketplace_view()
    assert {each["name"]: each["version"] for each in told["definitions"]} == view.versions
    assert sum(len(each["columns"]) for each in told["definitions"]) == len(view.columns)
    assert all(each["unit"] and each["published"] is None for each in told["definitions"])
    brands = [each for each in told["families"] if each["key"] == ["person", "brand"]]
    assert {each["keys"] for each in brands} == {3}  # anna x arket, anna x cos, ben x arket
    assert all(each["nbytes"] > 0 for each in brands)
    assert "listing_click_rate" in run(shop)[1]


def test_a_system_without_a_log_lists_its_definitions_too(tmp_path: Path) -> None:
    told = json.loads(run(tmp_path / "new", "--json")[1])
    assert told["n"] == 0
    assert "new has folded no event, so no memory" in run(tmp_path / "new")[1]
    assert not (tmp_path / "new").exists()
    assert sum(each["nbytes"] for each in told["families"]) == 0


def test_a_value_is_told_with_its_events(shop: Path) -> None:
    at = str(T0 + 5 * HOUR)
    told = explained(shop, "l0", "--person", "anna", "--at", at, "--events", "1")
    assert (told["n"], told["differing"], told["t"]) == (6, [], T0 + 5 * HOUR)
    values = by_column(told)
    clicks = values["listing_clicked_24h"]
    assert (clicks["kernel"], clicks["plain"]) == (2.0, 2.0)  # ben's came later
    (counted,) = clicks["counted"]
    assert (counted["key"], counted["count"]) == ({"listing": "l0"}, 2)
    assert [(e["seq"], e["user"], e["listing"]) for e in counted["newest"]] == [(5, "anna", "l0")]
    seen = values["listing_seen_24h"]["counted"][0]["newest"][0]
    assert (seen["kind"], seen["listing"], seen["text"]) == ("impression", "l0", "coat")
    rate = values["person_brand_share_4w"]
    assert rate["how"] == "(2 + 0) / (3 + 0)"
    assert [each["key"] for each in rate["counted"]] == [
        {"person": "anna", "brand": "arket"},
        {"person": "anna"},
    ]


def test_now_is_the_default_and_a_newcomer_has_no_history(shop: Path) -> None:
    told = explained(shop, "l0")
    assert (told["n"], told["person"], told["differing"]) == (7, "", [])
    values = by_column(told)
    assert values["person_acted_4w"]["kernel"] is None
    assert values["person_acted_4w"]["counted"][0]["key"] == {"person": "?"}


def test_a_given_column_says_where_it_comes_from(shop: Path) -> None:
    told = explained(shop, "l0", "--surface", "search", "--text", "arket coat")
    values = by_column(told)
    assert values["asked_brand"]["kernel"] == 1.0
    assert values["asked_brand"]["how"] == "from the words of the query, by the lexicon"
    assert set(ORIGINS) == set(marketplace_view().given)


def test_a_code_comes_with_its_word(shop: Path) -> None:
    values = by_column(explained(shop, "l0", "--surface", "search"))
    assert values["surface"]["how"] == "code of surface, 'search'"
    assert values["condition"]["kernel"] is None  # nothing was said of it
    assert values["condition"]["how"] == "code of condition"


def test_the_page_for_people_can_be_read(shop: Path) -> None:
    at = "2025-06-15T20:30+00:00"
    status, printed = run(shop, "explain", "l0", "--person", "anna", "--at", at, "--events", "1",
                          "--only", "listing_*")  # fmt: skip
    assert status == 0
    assert "listing_clicked_24h  2 (count) = 2 counted" in printed
    assert "2 click of listing l0; 24h from 2025-06-14 20:00:00" in printed
    assert "2025-06-15 19:06:40  click l0 by anna  (offset 5)" in printed
    assert "… and 1 more" in printed
    assert "(as above)" in printed
    assert "price_to_person" not in printed


def test_a_difference_is_a_bug_and_is_said_loudly(
    shop: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = explanation.parts_of

    def without_the_last(*arguments: Any) -> Iterator[Facts]:
        for part in whole(*arguments):
            yield part[: len(part) - 1]

    monkeypatch.setattr(explanation, "parts_of", without_the_last)
    status, printed = run(shop, "explain", "l0", "--at", str(T0 + 10 * HOUR))
    assert status == 1
    assert "DIFFERS: the kernel says 3.0, the log says 2.0" in printed
    assert "BUG: " in printed
    status, printed = run(shop, "explain", "l0", "--at", str(T0 + 10 * HOUR), "--json")
    assert status == 1
    assert "listing_clicked_24h" in json.loads(printed)["differing"]


@pytest.mark.parametrize(
    ("arguments", "error", "why"),
    [
        (["l9"], NotFoundError, "listing 'l9' was not known at .* check its id"),
        (["l0", "--at", "1749999999999"], NotFoundError, r"'l0' was not known .*\(offset 0\)"),
        (["l0", "--anchor", "l9"], NotFoundError, "anchor 'l9' was not known"),
        (["l0", "--person", "zoe"], NotFoundError, "'zoe' had done nothing .* for a newcomer"),
        (["l0", "--person", "ben", "--at", str(T0 + 5 * HOUR)], NotFoundError, "'ben' had done"),
        (["l0", "--at", "2090-01-01"], InputError, "is in the future.*give a time that has passed"),
        (["l0", "--at", "9999999999999999"], InputError, "is not between 1970 and 2100"),
        (["l0", "--at", "soon"], InputError, "'soon' is no time; wanted ms since 1970, or ISO"),
        (["l0", "--only", "x_*"], InputError, "no column is like 'x_[*]'"),
    ],
)
def test_what_cannot_be_explained_is_refused(
    shop: Path, arguments: list[str], error: type[HeirloomError], why: str
) -> None:
    with pytest.raises(error, match=why):
        run(shop, "explain", *arguments)


def test_a_folder_without_a_log_is_named(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match=r"there is no log in .*--folder"):
        run(tmp_path, "explain", "l0")


def changed(**said: Any) -> FeatureView:
    """The marketplace's view with one definition changed."""
    view = marketplace_view()
    seen = replace(view.features[0], windows=("24h",))  # type: ignore[type-var]
    revisions = {**view.revisions, **said.pop("revisions", {})}
    return FeatureView("marketplace", (seen, *view.features[1:]), revisions=revisions, **said)


def test_publishing_binds_and_a_check_changes_nothing(tmp_path: Path) -> None:
    status, printed = run(tmp_path, "publish", "--check")
    assert (status, publications.read(tmp_path)) == (1, None)
    assert f"{len(marketplace_view().features)} not published" in printed
    assert run(tmp_path, "publish")[0] == 0
    first = (tmp_path / publications.FILE).read_bytes()
    assert run(tmp_path, "publish", "--check")[0] == 0
    assert run(tmp_path, "publish")[0] == 0
    assert (tmp_path / publications.FILE).read_bytes() == first
    told = json.loads(run(tmp_path, "--json")[1])
    assert all(each["published"]["offset"] == 0 for each in told["definitions"])


def test_the_library_is_what_was_published() -> None:
    """A definition of ours that changed keeps its name only under a higher revision.

    Where this fails: state the revision in the view, or publish what is new by
    `heirloom features publish --folder systems/published`, and commit the file.
    """
    published = publications.read(LAPTOP.parent / "published")
    assert published is not None
    published.check(view_of(load(LAPTOP), Registry.installed()))
    with pytest.raises(ConfigError, match=r"listing_seen was published .* has changed since"):
        published.check(changed())


def test_a_change_under_a_published_name_is_refused_by_publish_and_shown(tmp_path: Path) -> None:
    publications.write(tmp_path, Published().publish(changed(), offset=0, t=T0))
    with pytest.raises(ConfigError, match=r"listing_seen was published .* and has changed since"):
        run(tmp_path, "publish")
    assert "listing_seen was published as version" in run(tmp_path)[1]


def test_a_system_starts_only_with_what_was_published(tmp_path: Path) -> None:
    settings = load(LAPTOP, folder=tmp_path)
    published = Published().publish(marketplace_view(), offset=0, t=T0)
    publications.write(tmp_path, published)
    System(settings).close()
    new = Registry.installed().with_view("marketplace", lambda _: changed())
    with pytest.raises(ConfigError, match=r"windows from .* to .*'24h'.*a higher revision"):
        System(settings, registry=new)
    raised = changed(revisions={"listing_seen": 2})
    new = Registry.installed().with_view("marketplace", lambda _: raised)
    with pytest.raises(ConfigError, match="not published: listing_seen; run `heirloom features"):
        System(settings, registry=new, answering=False)
    publications.write(tmp_path, published.publish(raised, offset=0, t=T0))
    System(settings, registry=new).close()
