"""Published definitions: what was published stays what it is, and a change says so."""

from dataclasses import replace

import pytest

from heirloom.core.errors import ConfigError
from heirloom.features import definition as definitions
from heirloom.features import published as module
from heirloom.features.algebra import Age, Counter, Definition, Ratio
from heirloom.features.definition import source_of, version_of
from heirloom.features.published import Published, difference
from heirloom.features.view import FeatureView

CLICKS = Counter("clicks", ("listing",), ("click",), ("24h", "7d"), "How often it was opened.")
SEEN = Counter("seen", ("listing",), ("impression",), ("24h", "7d"))
RATE = Ratio("rate", CLICKS, SEEN, ("24h",), (1.0, 20.0))
WIDER = replace(CLICKS, windows=("24h", "7d", "30d"))


def a_view(*features: Definition, **said: object) -> FeatureView:
    return FeatureView("v", features, **said)  # type: ignore[arg-type]


FIRST = Published().publish(a_view(CLICKS, RATE, owner="ranking"), offset=5, t=1_000)


def test_a_definition_has_a_version_of_its_own() -> None:
    view = a_view(CLICKS, RATE, Age("age"))
    assert view.versions == {d.name: version_of(d) for d in (CLICKS, RATE, Age("age"))}
    other = a_view(CLICKS, replace(RATE, prior=(2.0, 20.0)), Age("age"))
    assert [n for n in view.versions if view.versions[n] != other.versions[n]] == ["rate"]
    assert view.version != other.version


def test_a_version_is_of_source_hops_revision_and_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    version = version_of(CLICKS)
    assert version_of(replace(CLICKS, about="Else.")) == version
    assert version_of(replace(CLICKS, kinds=("save",))) != version
    assert version_of(CLICKS, revision=2) != version
    # 1 and 1.0 are one prior.
    assert version_of(replace(RATE, prior=(1, 20))) == version_of(RATE)
    monkeypatch.setitem(
        definitions.WINDOWS, "7d", replace(definitions.WINDOWS["7d"], hop_ms=3_600_000)
    )
    assert version_of(CLICKS) != version
    monkeypatch.undo()
    monkeypatch.setattr(definitions, "KERNEL_VERSION", 99)
    assert version_of(CLICKS) != version


def test_a_window_that_a_definition_does_not_name_leaves_its_version(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    version = version_of(CLICKS)
    monkeypatch.setitem(definitions.WINDOWS, "2d", definitions.WINDOWS["7d"])
    assert version_of(CLICKS) == version


def test_two_definitions_of_one_name_are_refused_also_where_their_columns_differ() -> None:
    with pytest.raises(ConfigError, match="two features of one name: 'clicks'; rename one of them"):
        a_view(CLICKS, Counter("clicks", ("listing",), ("click",), ("30d",)))


def test_a_revision_of_nothing_is_refused() -> None:
    with pytest.raises(
        ConfigError, match=r"(?s)no definition is named 'click'.*'clicks' has 0; wanted 1"
    ):
        a_view(CLICKS, revisions={"click": 2, "clicks": 0})


def test_what_was_published_keeps_its_first_offset_and_time() -> None:
    again = FIRST.publish(a_view(CLICKS, RATE, owner="search"), offset=9, t=2_000)
    clicks = again.views["v"].definitions["clicks"]
    assert [(p.first_offset, p.first_t, p.owner, p.revision) for p in clicks] == [
        (5, 1_000, "search", 1)
    ]
    assert clicks[0].columns == ("clicks_24h", "clicks_7d")
    assert (clicks[0].unit, clicks[0].about) == ("count", "How often it was opened.")
    assert clicks[0].source == source_of(CLICKS)
    assert again == again.publish(a_view(CLICKS, RATE, owner="search"), offset=11, t=3_000)


def test_a_changed_definition_is_refused_with_what_changed_and_what_to_do() -> None:
    view = a_view(WIDER, replace(RATE, over=WIDER))
    with pytest.raises(ConfigError) as refused:
        FIRST.publish(view, offset=9, t=2_000)
    text = str(refused.value)
    assert "clicks was published as version" in text
    assert "windows from ['24h', '7d'] to ['24h', '7d', '30d']" in text
    assert "over.windows from ['24h', '7d'] to ['24h', '7d', '30d']" in text
    assert "under a new name" in text
    assert "revisions={'clicks': 2}" in text
    with pytest.raises(ConfigError, match="has changed since"):
        FIRST.check(view)


def test_another_word_under_a_published_name_is_refused() -> None:
    with pytest.raises(ConfigError, match="word from 'Counter' to 'Age'"):
        FIRST.check(a_view(Age("clicks")))


def test_a_higher_revision_is_published_beside_the_old_one_which_may_come_back() -> None:
    view = a_view(WIDER, RATE, revisions={"clicks": 2})
    second = FIRST.publish(view, offset=9, t=2_000)
    published = second.views["v"].definitions["clicks"]
    assert [(p.revision, p.first_offset) for p in published] == [(1, 5), (2, 9)]
    second.check(view)
    second.check(a_view(CLICKS, RATE))  # a release rolled back
    with pytest.raises(ConfigError, match=r"has changed since(.|\n)*revisions=\{'clicks': 3\}"):
        second.check(a_view(replace(CLICKS, kinds=("save",)), revisions={"clicks": 2}))
    fourth = second.publish(a_view(WIDER, revisions={"clicks": 4}), offset=9, t=2_000)
    with pytest.raises(ConfigError, match="revision 3 is new, but 4 is published already"):
        fourth.check(a_view(CLICKS, revisions={"clicks": 3}))


def test_what_was_not_published_is_refused_at_the_check_and_taken_by_publish() -> None:
    view = a_view(CLICKS, RATE, Age("age"))
    assert FIRST.unpublished(view) == ["age"]
    with pytest.raises(ConfigError, match="not published: age; run `heirloom features publish`"):
        FIRST.check(view)
    FIRST.publish(view, offset=9, t=2_000).check(view)
    with pytest.raises(ConfigError, match="not published: clicks"):
        FIRST.check(FeatureView("other", (CLICKS,)))


def test_a_new_kernel_is_a_new_version_of_the_same_revision(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(definitions, "KERNEL_VERSION", 99)
    monkeypatch.setattr(module, "KERNEL_VERSION", 99)
    view = a_view(CLICKS, RATE)
    assert FIRST.refusals(view) == []
    assert FIRST.unpublished(view) == ["clicks", "rate"]
    second = FIRST.publish(view, offset=9, t=2_000)
    assert [p.kernel for p in second.views["v"].definitions["clicks"]] == [
        FIRST.views["v"].definitions["clicks"][0].kernel,
        99,
    ]


def test_a_hop_may_not_move_under_one_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    hop = replace(definitions.WINDOWS["7d"], hop_ms=3_600_000)
    monkeypatch.setitem(definitions.WINDOWS, "7d", hop)
    with pytest.raises(ConfigError, match=r"window 7d from .*21600000\] ms to .*3600000\] ms"):
        FIRST.check(a_view(CLICKS, RATE))


def test_the_difference_of_a_bundle_and_a_view_is_named() -> None:
    trained = a_view(CLICKS, RATE).columns
    assert difference(trained, a_view(CLICKS, Age("age")), None) == [
        "no longer there: rate_24h",
        "new: age",
    ]
    assert difference(trained, a_view(RATE, CLICKS), None) == ["their order is another"]
    other = a_view(replace(CLICKS, kinds=("save",)), RATE, revisions={"clicks": 2})
    assert difference(trained, other, None) == []  # the columns are named alike
    assert difference(trained, other, FIRST) == [
        "clicks changed: kinds from ['click'] to ['save']; revision from 1 to 2"
    ]
