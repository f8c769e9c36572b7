"""Settings: one TOML, refused with all that is wrong."""

from dataclasses import replace
from pathlib import Path

import pytest

from heirloom.apps.settings import load
from heirloom.core.errors import ConfigError
from heirloom.slates.rules import Rules, Shares

LAPTOP = Path(__file__).parents[2] / "systems" / "laptop.toml"


def test_every_system_that_ships_is_valid() -> None:
    systems = sorted(LAPTOP.parent.glob("*.toml"))
    assert LAPTOP in systems
    for path in systems:
        load(path)


def test_the_folder_can_be_replaced(tmp_path: Path) -> None:
    assert load(LAPTOP, folder=tmp_path).system.folder == tmp_path


def test_all_that_is_wrong_is_told_at_once(tmp_path: Path) -> None:
    path = tmp_path / "system.toml"
    path.write_text(
        '[system]\nname = "x"\nfolder = "f"\ncurrency = "euro"\ncolour = 1\n'
        "[policy]\nquotas = { home = { popular = 0 } }\n[rates]\nUSD = -1\n"
    )
    with pytest.raises(ConfigError) as caught:
        load(path)
    text = str(caught.value)
    for place in ("system.currency", "system.colour", "policy.quotas.home.popular", "rates"):
        assert place in text, text
    assert len(caught.value.problems) == 4


@pytest.mark.parametrize(
    ("content", "told"), [("[system", "not TOML"), (None, "no such file"), ("\xff", "not TOML")]
)
def test_a_file_that_cannot_be_read(tmp_path: Path, content: str | None, told: str) -> None:
    path = tmp_path / "system.toml"
    if content is not None:
        path.write_bytes(content.encode("latin-1"))
    with pytest.raises(ConfigError, match=told):
        load(path)


SLATE = """
[system]
name = "x"
folder = "f"
impressions = "{impressions}"
[policy]
quotas = {{ home = {{ popular = 1 }} }}
[policy.slate]
{slate}
"""


def test_the_rules_of_a_slate_are_off_unless_named(tmp_path: Path) -> None:
    assert not load(LAPTOP).policy.slate.rules
    path = tmp_path / "system.toml"
    told = 'diversity = 0.3\nby = "dpp"\nshares = { new_sellers = 0.9 }'
    path.write_text(SLATE.format(impressions="client", slate=told))
    part = load(path).policy.slate
    assert (part.rules.diversity, part.rules.by, part.rules.shares.new_sellers) == (0.3, "dpp", 0.9)
    assert replace(part.rules, diversity=0.0, by="mmr", shares=Shares()) == Rules()


@pytest.mark.parametrize(
    ("slate", "impressions", "told"),
    [
        ("diversity = 2\nexplore = -1", "client", ["diversity is 2", "explore is -1"]),
        ("seen_pairs = 1000", "client", ["seen_pairs is 1000; wanted a power of two"]),
        ('surfaces = ["hom"]', "client", ["policy.slate.surfaces.0", "'home', 'similar'"]),
        ("colour = 1", "client", ["policy.slate.colour"]),
        ("seen_cap = 3", "none", ['impressions = "none"', "seen_cap count impressions"]),
        ("shares = { low_exposure = 1 }", "none", ['impressions = "none"']),
    ],
)
def test_a_slate_s_rules_are_refused_by_name(
    tmp_path: Path, slate: str, impressions: str, told: list[str]
) -> None:
    path = tmp_path / "system.toml"
    path.write_text(SLATE.format(impressions=impressions, slate=slate))
    with pytest.raises(ConfigError) as refused:
        load(path)
    for part in told:
        assert part in str(refused.value)
