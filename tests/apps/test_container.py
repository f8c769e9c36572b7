"""The container file: what it names is there, pinned as the lock has it, and answers its own check.

A build wants a network and minutes, so it is none of these tests; `docs/operations.md` has it.
"""

import json
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from typer.testing import CliRunner

from heirloom.apps.cli import app

from .conftest import Door
from .on_loopback import on_loopback

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
PINS = ("requirements.container.txt", "requirements.build.txt")


def steps() -> list[tuple[str, str]]:
    """(instruction, its words), in order."""
    text = (ROOT / "Containerfile").read_text().replace("\\\n", " ")
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    return [(line.partition(" ")[0], line.partition(" ")[2].strip()) for line in lines]


def last_stage() -> dict[str, str]:
    """The last of each instruction of the stage that is run."""
    begins = max(i for i, (what, _) in enumerate(steps()) if what == "FROM")
    return dict(steps()[begins:])


def pinned(file: str) -> dict[str, list[tuple[str, int]]]:
    """By name, the versions and how many hashes each has."""
    found: dict[str, list[tuple[str, int]]] = {}
    for block in (ROOT / file).read_text().replace("\\\n", " ").splitlines():
        name, _, rest = block.partition("==")
        version = rest.split()[0].rstrip(";")
        found.setdefault(canonicalize_name(name), []).append((version, rest.count("--hash=sha256")))
    return found


def locked() -> dict[str, set[str]]:
    versions: dict[str, set[str]] = {}
    for line in (ROOT / "requirements.lock").read_text().splitlines():
        name, _, rest = line.partition("==")
        versions.setdefault(canonicalize_name(name), set()).add(rest.split(";")[0].strip())
    return versions


@pytest.mark.parametrize("file", PINS)
def test_every_requirement_has_the_locks_version_and_a_hash(file: str) -> None:
    lock = locked()
    for name, found in pinned(file).items():
        for version, hashes in found:
            assert hashes, f"{name} has no hash"
            assert version in lock.get(name, {version}), f"{name} {version}; the lock has another"


def test_what_the_package_needs_is_in_the_image() -> None:
    here = pinned(PINS[0])
    extras = PROJECT["project"]["optional-dependencies"]
    wanted = PROJECT["project"]["dependencies"] + extras["jwt"] + extras["redis"]
    for each in map(Requirement, wanted):
        versions = [version for version, _ in here[canonicalize_name(each.name)]]
        assert any(each.specifier.contains(version) for version in versions), each
    assert not {"pytest", "ruff", "torch", "selenium"} & here.keys()
    build = pinned(PINS[1])
    for each in map(Requirement, PROJECT["build-system"]["requires"]):
        assert [version for version, _ in build[canonicalize_name(each.name)]] == [
            str(each.specifier).removeprefix("==")
        ]


def test_only_what_is_copied_is_sent_and_it_is_there() -> None:
    ignore = (ROOT / ".dockerignore").read_text().split()
    sent = {line.removeprefix("!") for line in ignore if line.startswith("!")}
    copied = set()
    for what, words in steps():
        if what == "COPY" and not words.startswith("--from"):
            copied |= set(words.split()[:-1])
    assert copied == sent
    assert all((ROOT / name).exists() for name in copied)
    assert "*" in ignore


def test_the_last_stage_has_no_tool_of_the_build_and_no_power() -> None:
    begins = max(i for i, (what, _) in enumerate(steps()) if what == "FROM")
    runs = [words for what, words in steps()[begins:] if what == "RUN"]
    assert not re.search(r"pip|apt|gcc|curl", " ".join(runs))
    stage = last_stage()
    user = stage["USER"]
    assert re.fullmatch(r"(\d+):\1", user)
    assert f"--uid {user.split(':')[0]}" in " ".join(runs)
    assert stage["STOPSIGNAL"] == "SIGTERM"
    assert stage["VOLUME"] == stage["WORKDIR"] == "/var/lib/heirloom"
    every = [words for what, words in steps()[:begins] if what == "RUN" and "pip install" in words]
    assert len(every) == 3
    assert all("--require-hashes" in words or "--no-deps --no-index" in words for words in every)


def test_the_command_is_one_of_ours() -> None:
    stage = last_stage()
    assert json.loads(stage["ENTRYPOINT"]) == ["heirloom"]
    command, *given = json.loads(stage["CMD"])
    options = {option for option in given if option.startswith("--")}
    told = CliRunner().invoke(app, [command, "--help"], env={"COLUMNS": "200"}).output
    assert options <= set(re.findall(r"--[\w-]+", told))
    values = dict(zip(given[::2], given[1::2], strict=True))
    copied = Path(values["--system"]).relative_to("/etc/heirloom")
    assert (ROOT / "systems" / copied).exists()
    assert values["--folder"] == stage["VOLUME"]
    assert values["--port"] == stage["EXPOSE"]


def test_the_check_of_health_is_what_the_server_answers(door: Door) -> None:
    words = last_stage()["HEALTHCHECK"].partition("CMD ")[2]
    _, *given = json.loads(words)
    with on_loopback(door.app) as address:
        mine = [each.replace("127.0.0.1:8080", address) for each in given]
        assert shlex.join(mine) != shlex.join(given)
        assert subprocess.run([sys.executable, *mine], check=False, timeout=60).returncode == 0
    gone = subprocess.run([sys.executable, *mine], check=False, timeout=60, capture_output=True)
    assert gone.returncode != 0
