"""Settings: one TOML, refused with all that is wrong."""

from pathlib import Path

import pytest

from heirloom.apps.settings import load
from heirloom.core.errors import ConfigError

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
