"""A stranger's package is found by entry point, and held to the same names."""

import sys
from pathlib import Path

import pytest

from heirloom.apps.registry import Registry, pick
from heirloom.core.errors import ConfigError

MODULE = """
class Nothing:
    name = "nothing"
    def __init__(self, live):
        self.live = live
"""


def install(
    folder: Path, monkeypatch: pytest.MonkeyPatch, points: str, module: str = "stranger"
) -> None:
    (folder / f"{module}.py").write_text(MODULE)
    info = folder / f"{module}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {module}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(points)
    monkeypatch.syspath_prepend(str(folder))
    sys.modules.pop(module, None)


def test_a_package_offers_a_retriever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(tmp_path, monkeypatch, "[heirloom.retrievers]\nnothing = stranger:Nothing\n")
    found = Registry.installed().retrievers
    assert found["nothing"].__name__ == "Nothing"
    assert "popular" in found


def test_a_taken_name_and_a_missing_class_are_told_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    points = "[heirloom.retrievers]\npopular = stranger:Nothing\nother = stranger:Missing\n"
    install(tmp_path, monkeypatch, points)
    with pytest.raises(ConfigError) as caught:
        Registry.installed()
    assert len(caught.value.problems) == 2
    assert "'popular'" in str(caught.value)
    assert "Missing" in str(caught.value)


def test_with_gives_a_new_registry() -> None:
    registry = Registry.installed()
    more = registry.with_retriever("mine", lambda live: live)  # type: ignore[arg-type,return-value]
    assert "mine" in more.retrievers
    assert "mine" not in registry.retrievers


def test_an_unknown_name_lists_the_known() -> None:
    with pytest.raises(ConfigError, match=r"known: a, b"):
        pick("ranker", {"b": 1, "a": 2}, "c")
