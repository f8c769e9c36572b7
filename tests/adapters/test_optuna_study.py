"""Optuna behind `Study`: the same seed gives the same trials, also after a kill at any line."""

import math
import os
import signal
import subprocess
import sys
import warnings
from pathlib import Path
from types import MappingProxyType

import pytest

from heirloom.adapters.optuna_study import JOURNAL_FILE, STARTUP, OptunaStudy
from heirloom.core.errors import ConfigError, StoreError
from heirloom.ranking.space import Dimension
from heirloom.ranking.study import Trial

SPACE = MappingProxyType(
    {
        "depth": Dimension("int", 3, 8),
        "loss": Dimension("choice", choices=("a", "b")),
        "rate": Dimension("float", 0.01, 1.0, log=True),
    }
)
DEFAULTS = {"depth": 6, "rate": 0.15, "loss": "a"}


def opened(folder: Path, seed: int = 0) -> OptunaStudy:
    return OptunaStudy(folder, SPACE, dict(DEFAULTS), seed=seed)


def value_of(settings: dict) -> float:
    return -abs(math.log(settings["rate"] / 0.05)) - (settings["loss"] == "a")


def step(study: OptunaStudy) -> Trial:
    number, settings = study.ask()
    folds = [value_of(settings) - 0.1, value_of(settings) + 0.1]
    pruned = study.hopeless(folds[:1])
    trial = Trial(
        number=number, settings=settings, state="pruned" if pruned else "complete",
        value=folds[0] if pruned else sum(folds) / 2, folds=tuple(folds[: 1 if pruned else 2]),
        seconds=0.25,
    )  # fmt: skip
    study.tell(trial)
    return trial


def run(folder: Path, trials: int, seed: int = 0) -> list[Trial]:
    study = opened(folder, seed)
    while len(study.trials()) < trials:
        step(study)
    study.close()
    return study.trials()


COUNT = STARTUP + 6


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> list[Trial]:
    """What a run gives that nothing interrupts."""
    return run(tmp_path_factory.mktemp("whole"), COUNT)


def test_the_defaults_come_first_and_the_space_is_kept_to(whole: list[Trial]) -> None:
    assert whole[0].settings == DEFAULTS
    assert [trial.number for trial in whole] == list(range(COUNT))
    assert all(3 <= trial.settings["depth"] <= 8 for trial in whole)
    assert all(0.01 <= trial.settings["rate"] <= 1 for trial in whole)
    assert {trial.settings["loss"] for trial in whole} == {"a", "b"}
    assert len({trial.settings["rate"] for trial in whole}) == COUNT
    assert {trial.state for trial in whole} == {"complete", "pruned"}


def test_the_same_seed_gives_the_same_trials(whole: list[Trial], tmp_path: Path) -> None:
    assert run(tmp_path / "again", COUNT) == whole
    assert run(tmp_path / "other", 3, seed=1)[1:] != whole[1:3]


def test_a_run_in_pieces_is_the_run_at_once(whole: list[Trial], tmp_path: Path) -> None:
    for upto in (1, 4, STARTUP + 1, COUNT):
        study = opened(tmp_path)
        while len(study.trials()) < upto:
            step(study)
        study.ask()  # and never told: the process ends in the midst of a trial
        study.close()
    found = opened(tmp_path)
    assert found.trials() == whole
    assert found.interrupted() == 4
    found.close()


KILLED = """
import sys, time
from pathlib import Path
sys.path.insert(0, sys.argv[2])
import test_optuna_study as tests
study = tests.opened(Path(sys.argv[1]))
while True:
    tests.step(study)
    print(len(study.trials()), flush=True)
"""


def test_kill_9_loses_nothing_that_was_told(whole: list[Trial], tmp_path: Path) -> None:
    seen = 0
    for least in (2, STARTUP + 2):
        process = subprocess.Popen(
            [sys.executable, "-c", KILLED, str(tmp_path / "study"), str(Path(__file__).parent)],
            stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert process.stdout is not None
        for line in process.stdout:
            seen = int(line)
            if seen >= least:
                os.kill(process.pid, signal.SIGKILL)
                break
        process.wait()
        process.stdout.close()
        study = opened(tmp_path / "study")
        kept = study.trials()
        study.close()
        assert len(kept) >= seen
        assert kept[:COUNT] == whole[: len(kept)]
    done = run(tmp_path / "study", COUNT)
    assert done[:COUNT] == whole


def test_a_line_cut_short_is_taken_away(whole: list[Trial], tmp_path: Path) -> None:
    run(tmp_path, 3)
    journal = tmp_path / JOURNAL_FILE
    lines = journal.read_bytes().splitlines(keepends=True)
    for cut in range(1, 9):  # as a kill leaves it, anywhere in the last trial's lines
        journal.write_bytes(b"".join(lines[:-cut]) + lines[-cut][: len(lines[-cut]) // 2])
        (tmp_path / f"{JOURNAL_FILE}.lock").symlink_to(journal)
        assert run(tmp_path, 4) == whole[:4]


def test_two_processes_do_not_tune_one_study(tmp_path: Path) -> None:
    study = opened(tmp_path)
    with pytest.raises(StoreError, match="another process tunes here"):
        opened(tmp_path)
    study.close()
    opened(tmp_path).close()


def test_a_damaged_journal_is_no_empty_one(tmp_path: Path) -> None:
    run(tmp_path, 2)
    journal = tmp_path / JOURNAL_FILE
    journal.write_bytes(b"{not json}\n" + journal.read_bytes())
    with pytest.raises(StoreError, match="move its folder away"):
        opened(tmp_path)


def test_what_matters_is_told_when_enough_was_tried(whole: list[Trial], tmp_path: Path) -> None:
    study = opened(tmp_path)
    for _ in range(5):
        step(study)
    assert study.importance() == {}
    while sum(trial.state == "complete" for trial in study.trials()) < 12:
        step(study)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = study.importance()
    assert found.keys() == SPACE.keys()
    assert sum(found.values()) == pytest.approx(1)
    assert found["depth"] < max(found["rate"], found["loss"])
    study.close()


def test_without_optuna_it_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(ConfigError, match=r"pip install 'heirloom\[tune\]'"):
        opened(tmp_path)
