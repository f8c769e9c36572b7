"""Groups of features: each column is told with one of them."""

import pytest

from heirloom.core.errors import ConfigError
from heirloom.features.algebra import Age, Counter, Given, Static
from heirloom.features.groups import MARKETPLACE, Group
from heirloom.features.library import marketplace_view, rental_view
from heirloom.features.view import FeatureView

AGE, CLICKS = Age("age"), Counter("clicks", ("listing",), ("click",), ("24h", "7d"))
CODE = Static("condition", "condition")


@pytest.mark.parametrize(
    "view",
    [marketplace_view(), rental_view(("size", "occasion")), rental_view(("size",), codes=False)],
    ids=lambda view: view.name,
)
def test_every_column_is_in_exactly_one_group(view: FeatureView) -> None:
    held = [name for group in view.groups for name in group.definitions]
    assert sorted(held) == sorted(definition.name for definition in view.features)
    assert len({group.name for group in view.groups}) == len(view.groups)
    assert len({group.about for group in view.groups}) == len(view.groups)
    assert view.group_of.shape == (len(view.columns),)
    for column, group in zip(view.columns, view.group_of.tolist(), strict=True):
        name = column.partition(".")[2]
        named = [x for x in view.groups[group].definitions if name.startswith(x)]
        assert named, column


def test_the_marketplace_knows_its_columns_of_codes() -> None:
    view = marketplace_view()
    coded = [c for c, code in zip(view.columns, view.codes.tolist(), strict=True) if code]
    assert [c.partition(".")[2] for c in coded] == ["condition", "surface"]


def test_without_groups_each_definition_is_told_alone() -> None:
    view = FeatureView("v", (CLICKS, AGE))
    assert [group.name for group in view.groups] == ["clicks", "age"]
    assert view.group_of.tolist() == [0, 0, 1]


def test_groups_are_no_part_of_the_version() -> None:
    groups = (Group("both", "both", ("clicks", "age")),)
    view = FeatureView("v", (CLICKS, AGE), groups=groups)
    assert view.version == FeatureView("v", (CLICKS, AGE)).version
    assert view == FeatureView("v", (CLICKS, AGE))
    assert view.group_of.tolist() == [0, 0, 0]


def test_what_is_wrong_is_said_together() -> None:
    groups = (
        Group("one", "one", ("clicks", "gone")),
        Group("one", "again", ("clicks",)),
    )
    with pytest.raises(ConfigError) as refused:
        FeatureView("v", (CLICKS, AGE), groups=groups)
    for what in ("two groups of one name: 'one'", "is named 'gone'", "'clicks' stands in 2",
                 "'age' stand in none"):  # fmt: skip
        assert what in str(refused.value)


def test_a_new_feature_must_be_put_into_a_group() -> None:
    view = marketplace_view()
    with pytest.raises(ConfigError, match="'newcomer' stand in none; put each in one"):
        FeatureView("v", (*view.features, Given("newcomer")), groups=MARKETPLACE)
