"""`heirloom tune`, `report` and `ablate` on a small shop: resumed, killed, honest at the end."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import msgspec
import pytest
from typer.testing import CliRunner

from heirloom.adapters import bundle as bundles
from heirloom.adapters import example_files
from heirloom.apps.build import System
from heirloom.apps.cli import app
from heirloom.apps.settings import load
from heirloom.apps.toml_table import replace_table
from heirloom.apps.tuning import PLAN_FILE, REPORT_JSON, TuningReport, tune_system
from heirloom.core.errors import ConfigError, HeirloomError, NotFoundError, StoreError
from heirloom.features.library import marketplace_view
from heirloom.pipelines.training_report import REPORT_FILE
from heirloom.pipelines.tune import Budget
from heirloom.simulator import Popular, Size, World

DAY_MS = 86_400_000
COUNT = 5
SIZE = Size(listings=250, people=80, days=1, sessions_per_day=3.0, k=8)
TOML = """
[system]
name = "small"
folder = "unset"

[policy]
ranker = "catboost"

[policy.quotas]
home = { recent = 20 }
similar = { recent = 20 }
search = { recent = 20 }

[training]
audit = { rows = 300_000, slates = 0, entries = 500 }

[training.ranker_settings]    # few trees: it is quick
iterations = 12
thread_count = 1

# What is tried.
[tuning.space.depth]
kind = "int"
low = 2
high = 7

[tuning.space.learning_rate]
kind = "float"
low = 0.05
high = 0.5
log = true
"""


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a TOML and, beside it, the data of a small world; nothing is trained."""
    folder = tmp_path_factory.mktemp("tuning")
    (folder / "system.toml").write_text(TOML)
    system = System(load(folder / "system.toml", folder=folder / "data"), answering=False)
    world = World(SIZE, 0, start_ms=system.now_ms() // DAY_MS * DAY_MS - 30 * DAY_MS)
    system.ingest_history(world.opening(), source="simulator")
    while world.day < 1:
        system.ingest_history(world.step(Popular(world)).events(), source="simulator")
    system.close()
    return folder


@pytest.fixture
def copy(shop: Path, whole: TuningReport, tmp_path: Path) -> Path:
    return copied(shop, tmp_path / "shop", "catboost-*")


def copied(shop: Path, to: Path, *without: str) -> Path:
    """The shop elsewhere; without a study, but with the examples if they were made."""
    return Path(shutil.copytree(shop, to, ignore=shutil.ignore_patterns("*.writer*", *without)))


def tuned(folder: Path, trials: int, **more) -> tuple[TuningReport, Path]:
    settings = load(folder / "system.toml", folder=folder / "data")
    return tune_system(settings, budget=Budget(trials), folds=2, **more)


def told(report: TuningReport) -> list:
    """Trials without how long they took."""
    return [msgspec.structs.replace(trial, seconds=0.0) for trial in report.trials]


@pytest.fixture(scope="module")
def whole(shop: Path) -> TuningReport:
    """What a run gives that nothing interrupts."""
    return tuned(shop, COUNT)[0]


def run(folder: Path, *arguments: str, fails: bool = False) -> str:
    where = ["--system", str(folder / "system.toml"), "--folder", str(folder / "data")]
    result = CliRunner().invoke(app, [*arguments, *where], env={"COLUMNS": "200"})
    if isinstance(result.exception, HeirloomError):
        raise result.exception
    assert result.exit_code == 0, (result.output, result.exception)
    return result.stdout


def test_the_command_reports_and_goes_on(copy: Path, whole: TuningReport) -> None:
    page = run(copy, "tune", "--trials", "3", "--folds", "2", "--out", str(copy / "out"), "--write")
    assert "catboost: 3 trials" in page
    assert "the defaults" in page
    report = msgspec.json.decode((copy / "out" / REPORT_JSON).read_bytes(), type=TuningReport)
    assert told(report) == told(whole)[:3]
    assert report.plan.fixed == {"iterations": 12, "thread_count": 1}
    assert report.trials[0].settings == {"depth": 6, "learning_rate": 0.15} == report.defaults
    assert report.verdict in page.replace("\n", " ")
    html = (copy / "out" / "report.html").read_text()
    assert report.verdict in html
    assert "[training.ranker_settings]" in html
    assert html.count("<tr>") > 3
    text = (copy / "system.toml").read_text()
    assert (text == TOML) is not report.gain.better
    # More trials go on from these, and nothing is replayed again.
    steps: list[str] = []
    more, study = tuned(copy, COUNT, progress=lambda step, done, of: steps.append(step))
    assert set(steps) == {"tune", "test"}
    assert told(more) == told(whole)
    assert more.test_read == report.test_read + 1 == 2
    assert (study / PLAN_FILE).exists()


def test_the_same_seed_gives_the_same_trials_and_another_does_not(
    copy: Path, whole: TuningReport
) -> None:
    again, study = tuned(copy, COUNT)
    assert told(again) == told(whole)
    assert again.gain == whole.gain
    assert again.importance == whole.importance
    other, elsewhere = tuned(copy, 2, seed=1)
    assert other.trials[1].settings != whole.trials[1].settings
    assert elsewhere != study


def test_a_killed_run_goes_on_as_if_it_had_not_been(copy: Path, whole: TuningReport) -> None:
    command = [
        sys.executable, "-m", "heirloom.apps.main", "tune", "--trials", str(COUNT), "--folds", "2",
        "--system", str(copy / "system.toml"), "--folder", str(copy / "data"),
    ]  # fmt: skip
    script = [sys.executable, "-c", "from heirloom.apps.main import main; main()", *command[3:]]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "1"}
    process = subprocess.Popen(
        script, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment
    )
    try:
        while process.poll() is None and _ended(copy) < 2:
            time.sleep(0.01)
        assert process.poll() is None, process.communicate()
    finally:
        os.kill(process.pid, signal.SIGKILL)
        process.communicate()
    assert not list((copy / "data" / "tuning").glob(f"*/{REPORT_JSON}"))
    steps: list[str] = []
    report, _ = tuned(copy, COUNT, progress=lambda step, done, of: steps.append(step))
    assert "replay" not in steps
    assert told(report) == told(whole)
    assert report.gain == whole.gain
    assert report.test_read == 1


def _ended(folder: Path) -> int:
    """Trials whose end is in a journal."""
    journals = (folder / "data" / "tuning").glob("*/journal.log")
    return sum(journal.read_bytes().count(b'"heirloom":{"number"') for journal in journals)


def test_examples_that_were_changed_are_refused_and_lost_ones_made_again(
    copy: Path, whole: TuningReport
) -> None:
    tuned(copy, 1)
    (kept,) = (copy / "data" / "tuning" / "examples").glob(f"*/{example_files.MANIFEST_FILE}")
    values = kept.parent / "values.npy"
    values_before = values.read_bytes()
    values.write_bytes(values_before[:-1] + b"\x7f")
    with pytest.raises(StoreError, match=r"values\.npy was changed or damaged; delete the folder"):
        tuned(copy, 2)
    shutil.rmtree(kept.parent)
    assert told(tuned(copy, 1)[0]) == told(whole)[:1]
    again = next((copy / "data" / "tuning" / "examples").glob("*/values.npy"))
    assert again.read_bytes()[-64:] == values_before[-64:]
    shutil.rmtree(again.parent)
    # The log goes on meanwhile; the study stays with what it began with.
    system = System(load(copy / "system.toml", folder=copy / "data"), answering=False)
    from heirloom.core.event import Event

    listing = system.live.catalogue.listing(0).listing_id
    now = system.now_ms()
    system.ingest([Event(event_id="late", kind="save", t=now, user="p", listing=listing)])
    end = system.log.end()
    system.close()
    report, _ = tuned(copy, 2)
    assert told(report) == told(whole)[:2]
    assert report.plan.replay.offset == end - 1
    assert report.log_end == end
    anew, _ = tuned(copy, 1, fresh=True)
    assert anew.plan.replay.offset == end


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("[tuning.space.depth]", "[tuning.space.dept]", "dept: ranker 'catboost' has no such"),
        ("iterations = 12", "iterations = 1.5", "iterations: 1.5 came; wanted a whole number"),
        ("high = 7", "high = 4", "the default 6 is not from 2.0 to 4.0"),
        ('kind = "float"', 'kind = "real"', "tuning.space.learning_rate.kind"),
    ],
)
def test_what_is_wrong_is_said_before_anything_is_done(
    copy: Path, old: str, new: str, problem: str
) -> None:
    file = copy / "system.toml"
    file.write_text(TOML.replace(old, new))
    with pytest.raises(ConfigError, match=problem):
        tuned(copy, 1)
    assert not list((copy / "data" / "tuning").glob("catboost-*"))


def test_settings_that_were_found_are_trained_with(copy: Path) -> None:
    file = copy / "system.toml"
    with pytest.raises(NotFoundError, match="run `heirloom train`"):
        run(copy, "report")
    replace_table(file, "training.ranker_settings", {"iterations": 9, "depth": 3})
    assert "# What is tried." in file.read_text()
    run(copy, "train")
    current = copy / "data" / "bundles" / (copy / "data" / "current.txt").read_text().strip()
    settings = bundles.manifest_of(current).settings
    assert (settings["ranker_iterations"], settings["ranker_depth"]) == (9, 3)
    ranker = bundles.load(current, {"catboost": pytest.importorskip(
        "heirloom.ranking.catboost").CatBoostListwise}).ranker  # fmt: skip
    assert 1 <= ranker.trees <= 9
    page = run(copy, "report", "--top", "3", "--html", str(copy / "report.html"))
    assert "features as of the impression: holds" in page
    assert "gain on all, by column: ndcg@10" in page
    assert f"and {len(marketplace_view().columns) - 3} more; --top shows them" in page
    assert "each group of columns permuted" in (copy / "report.html").read_text()
    plain = json.loads(run(copy, "report", "--json"))
    assert {each["of"] for each in plain["drops"]} == {"column", "group"}
    with pytest.raises(NotFoundError, match="no glances on all; it has any_action on all"):
        run(copy, "report", "--label", "glances")
    (current / REPORT_FILE).write_text("{}")
    with pytest.raises(HeirloomError, match="changed or damaged"):
        run(copy, "report")


def test_a_table_that_stands_in_another_form_is_left_alone(tmp_path: Path) -> None:
    file = tmp_path / "system.toml"
    for text in (
        "[training]\nranker_settings = { depth = 4 }\n",
        "training.ranker_settings.a = 1\n",
    ):
        file.write_text(text)
        with pytest.raises(ConfigError, match="write by hand"):
            replace_table(file, "training.ranker_settings", {"depth": 3})
        assert file.read_text() == text
    file.write_text(
        "[a]\nb = 1  # one\n\n# two\n[training.ranker_settings]\nx = 1\n\n# three\n[c]\n"
    )
    values = {"loss": 'a "b"', "r": (1.0, 2.0), "d": 1e-05}
    replace_table(file, "training.ranker_settings", values)
    assert file.read_text() == (
        '[a]\nb = 1  # one\n\n# two\n[training.ranker_settings]\nloss = "a \\"b\\""\n'
        "r = [1.0, 2.0]\nd = 1e-05\n\n# three\n[c]\n"
    )
