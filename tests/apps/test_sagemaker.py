"""A SageMaker container: its door over HTTP, its files, its failures; the program itself runs."""

import json
import os
import signal
import socket
import subprocess
import sys
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest

from heirloom.adapters import bundle as bundles
from heirloom.adapters.package_files import write_archive
from heirloom.apps.build import System
from heirloom.apps.http import application
from heirloom.apps.sagemaker import hyperparameters, port, train, unpacked, with_hyperparameters
from heirloom.apps.security.guard import Guard
from heirloom.apps.security.keys import KeysFile, WatchedKeys
from heirloom.core.errors import ConfigError, InputError, StoreError
from heirloom.core.query import Query
from heirloom.core.slate import FeatureBatch

from .batch_system import history, publish_linear, settings_in, system_in
from .conftest import LAPTOP, START_MS, Client

ATTRIBUTES = "x-amzn-sagemaker-custom-attributes"
TOML = LAPTOP.read_text().replace('ranker = "expected"', 'ranker = "linear"')


@pytest.fixture(scope="module")
def toml(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("toml") / "mine.toml"
    path.write_text(TOML)
    return path


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    built = system_in(tmp_path_factory.mktemp("system"))
    built.ingest_history(history(), source="test")
    publish_linear(built, 1)
    yield built
    built.close()


@pytest.fixture(scope="module")
def client(system: System) -> Iterator[Client]:
    made = Client(application(system, sagemaker=True))
    yield made
    made.close()


@pytest.fixture
def rows(system: System) -> np.ndarray:
    assert system.policy.ranker is not None
    drawn = np.random.default_rng(3).normal(size=(4, len(system.policy.ranker.columns)))
    drawn[2, 1::4] = np.nan
    return drawn.astype(np.float32)


def scores(system: System, rows: np.ndarray) -> np.ndarray:
    ranker = system.policy.ranker
    assert ranker is not None
    return ranker.score(FeatureBatch(rows, ranker.columns, 0))


def test_it_answers_its_contract_and_nothing_else(system: System, client: Client) -> None:
    assert client.get("/ping").status_code == 200
    for path in ("/", "/v1/events", "/v1/recommend", "/metrics", "/openapi.json", "/v2"):
        assert client.get(path).status_code == 404, path
        assert client.post(path, json={}).status_code == 404, path


def test_behind_a_guard_it_asks_for_a_key(system: System, tmp_path: Path) -> None:
    guard = Guard(WatchedKeys(KeysFile(tmp_path)))
    client = Client(application(system, sagemaker=True, guard=guard))
    _, key = KeysFile(tmp_path).add("mine", ["read"], now_ms=0)
    try:
        assert client.get("/ping").status_code == 200
        assert client.post("/invocations", json={}).status_code == 401
        shown = {"authorization": f"Bearer {key}"}
        assert client.post("/invocations", json={}, headers=shown).status_code == 200
    finally:
        client.close()


def test_an_invocation_is_a_recommendation_or_a_search(system: System, client: Client) -> None:
    answer = client.post("/invocations", json={"user": "u03", "k": 5})
    assert answer.status_code == 200, answer.text
    wanted = system.recommend(Query(t=START_MS, user="u03", k=240))
    assert [card["listing_id"] for card in answer.json()["listings"]] == [
        shown.listing for shown in wanted.shown[:5]
    ]
    assert answer.headers[ATTRIBUTES] == f"bundle={system.policy.bundle}"
    found = client.post("/invocations", json={"text": "silk dress", "k": 3}).json()
    assert all("dress" in card["title"] for card in found["listings"])


def test_lines_are_answered_line_by_line(client: Client) -> None:
    body = b'{"user": "u01", "k": 2}\n\n{"text": "coat", "k": 1}\n'
    answer = client.post(
        "/invocations", content=body, headers={"content-type": "application/jsonlines"}
    )
    told = [json.loads(line) for line in answer.text.splitlines()]
    assert [len(each["listings"]) for each in told] == [2, 1]


def test_rows_are_scored_as_the_ranker_does(
    system: System, client: Client, rows: np.ndarray
) -> None:
    text = "\n".join(",".join("" if np.isnan(x) else repr(float(x)) for x in row) for row in rows)
    answer = client.post("/invocations", content=text, headers={"content-type": "text/csv"})
    assert answer.headers["content-type"].startswith("text/csv")
    found = np.array([[float(x) for x in line.split(",")] for line in answer.text.split()])
    assert found.astype(np.float32).tobytes() == scores(system, rows).tobytes()
    instances = [[None if np.isnan(x) else float(x) for x in row] for row in rows]
    told = client.post("/invocations", json={"instances": instances}).json()["predictions"]
    assert np.array(told, np.float32).tobytes() == scores(system, rows).tobytes()


def test_tensors_are_scored_as_json_and_as_bytes(
    system: System, client: Client, rows: np.ndarray
) -> None:
    tensor = {"name": "features", "shape": list(rows.shape), "datatype": "FP32"}
    sized = {**tensor, "parameters": {"binary_data_size": rows.nbytes}}
    asked = {"inputs": [sized], "parameters": {"binary_data_output": True}}
    head = json.dumps(asked).encode()
    kind = "application/vnd.sagemaker-triton.binary+json;json-header-size="
    answer = client.post(
        "/invocations", content=head + rows.tobytes(),
        headers={"content-type": f"{kind}{len(head)}"},
    )  # fmt: skip
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"].startswith(kind)
    length = int(answer.headers["content-type"].removeprefix(kind))
    assert json.loads(answer.content[:length])["model_name"] == "ranker"
    assert answer.content[length:] == scores(system, rows).tobytes()
    plain = {**tensor, "data": np.nan_to_num(rows).ravel().tolist()}
    told = client.post("/invocations", json={"inputs": [plain]}).json()["outputs"][0]["data"]
    wanted = scores(system, np.nan_to_num(rows))
    assert np.array(told, np.float32).tobytes() == wanted.tobytes()


@pytest.mark.parametrize(
    ("kind", "body", "status", "told"),
    [
        ("application/x-npy", b"", 415, "application/json"),
        ("application/vnd.sagemaker-triton.binary+json", b"{}", 415, "json-header-size"),
        ("application/json", b"?", 400, "JSON"),
        ("application/json", b'{"k": 0}', 422, "k"),
        ("application/json", b'{"instances": [["x"]]}', 422, "instances"),
        ("application/json", b'{"instances": []}', 400, "[0, 0]"),
        ("application/json", b'{"instances": [[], []]}', 400, "[2, 0]"),
        ("text/csv", b"", 400, "[0, 0]"),
        ("application/json", b'{"instances": [[1, 2], [3]]}', 400, "different lengths"),
        ("application/json", b'{"instances": [[1e300]]}', 400, "infinite"),
        ("application/json", b'{"inputs": []}', 400, "features"),
        ("application/jsonlines", b"{}\n" * 1_001, 413, "1001"),
        ("text/csv", b"a,b\n1,2\n", 400, "cannot be read"),
        ("text/csv", b"1,2\n3\n", 400, "different lengths"),
        ("text/csv", b"1,2\n", 400, "metadata"),
        ("text/csv", b"1,inf\n", 400, "infinite"),
        ("text/csv", b"\xff\xfe", 400, "cannot be read"),
        ("text/csv", b"1," * 600_000, 413, "1048576"),
    ],
)
def test_an_invocation_that_is_none_is_refused(
    kind: str, body: bytes, status: int, told: str, client: Client
) -> None:
    answer = client.post("/invocations", content=body, headers={"content-type": kind})
    assert (answer.status_code, told in answer.text) == (status, True), answer.text


def test_the_same_content_is_the_same_archive(system: System, toml: Path, tmp_path: Path) -> None:
    sizes = [write_archive(system.folder, toml, tmp_path / name, log=False) for name in "ab"]
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert sizes[0] == (tmp_path / "a").stat().st_size
    with tarfile.open(tmp_path / "a") as archive:
        names = archive.getnames()
    assert {"system.toml", "current.txt", f"bundles/{system.policy.bundle}/manifest.json"} <= (
        set(names)
    )
    assert not [name for name in names if "sqlite" in name or "keys" in name or "slates" in name]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b"]


def test_a_system_without_a_bundle_or_log_is_not_packaged(toml: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="heirloom train"):
        write_archive(tmp_path / "empty", toml, tmp_path / "x.tar.gz", log=False)
    with pytest.raises(InputError, match="no log to package"):
        write_archive(tmp_path / "empty", toml, tmp_path / "x.tar.gz", log=True)
    assert [path.name for path in tmp_path.iterdir()] == ["empty"]


def extract(archive: Path, folder: Path) -> None:
    """As SageMaker does, by tar."""
    folder.mkdir(parents=True, exist_ok=True)
    subprocess.run(["tar", "-xzf", str(archive), "-C", str(folder)], check=True)


@pytest.fixture(scope="module")
def model(system: System, toml: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """/opt/ml with a package as SageMaker unpacks it."""
    root = tmp_path_factory.mktemp("opt-ml")
    write_archive(system.folder, toml, root / "model.tar.gz", log=True)
    extract(root / "model.tar.gz", root / "model")
    return root


def test_the_program_serves_a_package_and_leaves_it_as_it_was(system: System, model: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        chosen = free.getsockname()[1]
    before = {p: p.read_bytes() for p in sorted(model.rglob("*")) if p.is_file()}
    program = [sys.executable, "-c", "from heirloom.apps.main import main; main()"]
    server = subprocess.Popen(
        [*program, "serve", "--sagemaker", "--opt-ml", str(model)],
        env={**os.environ, "SAGEMAKER_BIND_TO_PORT": str(chosen), "PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert server.stdout is not None
        assert server.stdout.readline().startswith(f"serving on http://0.0.0.0:{chosen}")
        with httpx.Client(base_url=f"http://127.0.0.1:{chosen}", timeout=60) as client:
            assert client.get("/ping").status_code == 200
            told = client.post("/invocations", json={"user": "u04", "k": 3}).json()
        assert told["bundle"] == system.policy.bundle
        assert told["n"] == system.log.end()
        assert len(told["listings"]) == 3
    finally:
        server.send_signal(signal.SIGTERM)
        server.wait(timeout=60)
        if server.stdout is not None:
            server.stdout.close()
    assert {p: p.read_bytes() for p in sorted(model.rglob("*")) if p.is_file()} == before


def test_what_is_no_package_is_refused(tmp_path: Path) -> None:
    with (
        pytest.raises(ConfigError, match=r"no system.toml lies there.*heirloom package"),
        unpacked(tmp_path),
    ):
        pass
    (tmp_path / "system.toml").write_text(TOML.replace("[http]", "[http]\nauth.required = true"))
    with pytest.raises(ConfigError, match="IAM decides"), unpacked(tmp_path):
        pass


def test_without_a_log_the_ranker_alone_answers(
    system: System, toml: Path, tmp_path: Path, rows: np.ndarray
) -> None:
    write_archive(system.folder, toml, tmp_path / "m.tar.gz", log=False)
    extract(tmp_path / "m.tar.gz", tmp_path / "model")
    with unpacked(tmp_path / "model") as settings:
        bare = System(settings)
        client = Client(application(bare, sagemaker=True))
        try:
            assert client.get("/ping").status_code == 200
            sent = {"instances": np.nan_to_num(rows).tolist()}
            told = client.post("/invocations", json=sent).json()["predictions"]
            wanted = scores(system, np.nan_to_num(rows))
            assert np.array(told, np.float32).tobytes() == wanted.tobytes()
        finally:
            client.close()
            bare.close()


def test_with_nothing_to_answer_with_it_is_not_ready(tmp_path: Path) -> None:
    bare = system_in(tmp_path)
    client = Client(application(bare, sagemaker=True))
    try:
        assert client.get("/ping").status_code == 503
    finally:
        client.close()
        bare.close()


@pytest.mark.parametrize(("told", "wanted"), [(None, 8080), ("9000", 9000)])
def test_the_port(told: str | None, wanted: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SAGEMAKER_BIND_TO_PORT", raising=False)
    if told:
        monkeypatch.setenv("SAGEMAKER_BIND_TO_PORT", told)
    assert port() == wanted


@pytest.mark.parametrize("told", ["x", "-1", "70000", ""])
def test_a_port_that_is_none(told: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAGEMAKER_BIND_TO_PORT", told)
    with pytest.raises(ConfigError, match="SAGEMAKER_BIND_TO_PORT"):
        port()


def test_hyperparameters_replace_keys_of_training(tmp_path: Path) -> None:
    (tmp_path / "input" / "config").mkdir(parents=True)
    given = {
        "seed": "7", "bias": "ips", "ranker_settings.ridges": "[1.0, 2.0]", "gate.ndcg@10": "0.1",
        "sagemaker_program": "train.py",
    }  # fmt: skip
    (tmp_path / "input" / "config" / "hyperparameters.json").write_text(json.dumps(given))
    before = settings_in(tmp_path)
    after = with_hyperparameters(before, hyperparameters(tmp_path)).training
    assert (after.seed, after.bias, after.gate) == (7, "ips", {"ndcg@10": 0.1})
    assert after.ranker_settings == {"ridges": (1.0, 2.0)}
    assert after.gains == before.training.gains
    for wrong in ({"sede": "7"}, {"seed": "x"}, {"seed.more": "1"}):
        with pytest.raises(ConfigError, match=r"sede|seed"):
            with_hyperparameters(before, wrong)


def channel(root: Path, system: System, toml: Path) -> None:
    write_archive(system.folder, toml, root / "system.tar.gz", log=True)
    extract(root / "system.tar.gz", root / "input" / "data" / "system")


def test_a_training_that_cannot_be_says_why(
    system: System, toml: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    failure = tmp_path / "output" / "failure"
    assert train(tmp_path) == 1
    assert "channel `system` has no system.toml" in failure.read_text()
    channel(tmp_path, system, toml)
    assert train(tmp_path) == 1  # twelve people never shown a slate teach nothing
    assert failure.read_text().startswith("InputError: ")
    assert failure.read_text() in capsys.readouterr().out
    (tmp_path / "input" / "config").mkdir()
    (tmp_path / "input" / "config" / "hyperparameters.json").write_text('{"sede": "1"}')
    assert train(tmp_path) == 1
    assert "sede" in failure.read_text()
    assert not (tmp_path / "model").exists()


def test_a_training_makes_a_package_that_serves(tmp_path: Path, toml: Path) -> None:
    from heirloom.apps.demo import simulate_into
    from heirloom.apps.progress import Silent

    made = System(settings_in(tmp_path / "made"), answering=False)
    try:
        simulate_into(made, "tiny", 0, None, Silent())  # type: ignore[arg-type]
        channel(tmp_path, made, toml)
    finally:
        made.close()
    (tmp_path / "input" / "config").mkdir()
    (tmp_path / "input" / "config" / "hyperparameters.json").write_text('{"seed": "5"}')
    assert train(tmp_path) == 0
    assert not (tmp_path / "output" / "failure").exists()
    with unpacked(tmp_path / "model") as settings:
        trained = System(settings, clock=lambda: time.time_ns() // 1_000_000)
        try:
            folder = settings.system.folder / "bundles" / trained.policy.bundle
            assert bundles.manifest_of(folder).seed == 5
            assert trained.ready()["listings"]
        finally:
            trained.close()


def test_a_disk_that_refuses_a_package_leaves_none(
    system: System, toml: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(tarfile.TarFile, "add", full)
    with pytest.raises(StoreError, match="No space left"):
        write_archive(system.folder, toml, tmp_path / "m.tar.gz", log=True)
    assert list(tmp_path.iterdir()) == []
