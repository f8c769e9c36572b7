"""The examples run, each as a reader would run it."""

import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from heirloom.apps.build import System
from heirloom.apps.settings import load

FOLDER = Path(__file__).parents[1] / "examples"
EXAMPLES = sorted(FOLDER.glob("*.py"))
PACKAGES = sorted(path.parent for path in FOLDER.glob("*/pyproject.toml"))

SAYS = {
    "04_feature_store": (
        "served = replayed, bit for bit: True",
        "as if it had always been there: True",
        "has changed since: windows from ['24h', '7d'] to ['7d']",
    ),
    "06_tuning": (
        "one column too good: holds",
        "shuffled labels: holds",
        "features as of the impression: holds",
        "mine@1.acted_later: by itself it has an AUC of 1.000 within slates",
        "column(s) mine@1.acted_later are not of the feature view",
    ),
    "07_serving": (
        "sold, and still shown: 0 times in 10 pages",
        "answered while a worker was away: 10 of 10",
        "stopped, exit status 0",
    ),
}
"""What an example shows, where it could come out otherwise."""


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_example(path: Path, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", str(path)],
        cwd=tmp_path,
        env={**os.environ, "NUMBA_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) > 5
    assert [line for line in SAYS.get(path.stem, ()) if line not in done.stdout] == []


def test_examples_are_short() -> None:
    assert EXAMPLES
    for path in EXAMPLES:
        assert len(path.read_text().splitlines()) < 100, path


@pytest.mark.parametrize("package", PACKAGES, ids=lambda path: path.name)
def test_the_tests_of_an_outside_package(package: Path, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"],
        cwd=package,
        env={
            **os.environ,
            "NUMBA_NUM_THREADS": "1",
            "OMP_NUM_THREADS": "1",
            "HYPOTHESIS_STORAGE_DIRECTORY": str(tmp_path),
        },
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("package", PACKAGES, ids=lambda path: path.name)
def test_an_outside_package_is_found_by_its_entry_points(
    package: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = tomllib.loads((package / "pyproject.toml").read_text())["project"]
    # What an installer writes beside the package.
    about = tmp_path / f"{project['name'].replace('-', '_')}-{project['version']}.dist-info"
    about.mkdir()
    head = f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n"
    (about / "METADATA").write_text(head)
    lines = []
    for group, points in project["entry-points"].items():
        lines += [f"[{group}]", *(f"{name} = {value}" for name, value in points.items())]
    (about / "entry_points.txt").write_text("\n".join(lines))
    for folder in (tmp_path, package / "src"):
        monkeypatch.syspath_prepend(str(folder))
    system = System(load(package / "system.toml", folder=tmp_path / "var"))
    try:
        named = project["entry-points"]["heirloom.retrievers"]
        assert named.keys() <= system.live.retrievers.keys()
        assert [system.live.retrievers[name].name for name in named] == list(named)
    finally:
        system.close()
