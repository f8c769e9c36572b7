"""The Open Inference Protocol, by the real tritonclient over HTTP and by hostile requests."""

import json
import struct
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from heirloom.apps.build import System
from heirloom.apps.http import application
from heirloom.apps.problems import ProblemError
from heirloom.apps.tensors import InferIn, request_of, response_of, tensors_of
from heirloom.core.slate import FeatureBatch

from .batch_system import history, publish_linear, system_in
from .conftest import Client
from .on_loopback import on_loopback

triton = pytest.mark.engine("triton")


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    built = system_in(tmp_path_factory.mktemp("system"))
    built.ingest_history(history()[:70], source="test")
    publish_linear(built, 1)
    yield built
    built.close()


@pytest.fixture(scope="module")
def client(system: System) -> Iterator[Client]:
    made = Client(application(system))
    yield made
    made.close()


@pytest.fixture(scope="module")
def served(system: System) -> Iterator[str]:
    with on_loopback(application(system)) as address:
        yield address


@pytest.fixture
def rows(system: System) -> np.ndarray:
    drawn = np.random.default_rng(0).normal(size=(5, len(columns(system))))
    drawn[1, ::3] = np.nan
    return drawn.astype(np.float32)


def columns(system: System) -> tuple[str, ...]:
    assert system.policy.ranker is not None
    return system.policy.ranker.columns


def scores(system: System, rows: np.ndarray) -> bytes:
    assert system.policy.ranker is not None
    return system.policy.ranker.score(FeatureBatch(rows, columns(system), 0)).tobytes()


@triton
def test_a_client_of_triton_finds_the_server_and_the_model(system: System, served: str) -> None:
    from tritonclient.http import InferenceServerClient
    from tritonclient.utils import InferenceServerException

    bundle = system.policy.bundle
    with InferenceServerClient(served) as client:
        assert client.is_server_live()
        assert client.is_server_ready()
        assert client.is_model_ready("ranker")
        assert client.is_model_ready("ranker", bundle)
        assert not client.is_model_ready("ranker", "7")
        assert client.get_server_metadata()["extensions"] == ["binary_tensor_data"]
        for version in ("", bundle):
            about = client.get_model_metadata("ranker", version)
            assert about["versions"] == [bundle]
            (features,), (out,) = about["inputs"], about["outputs"]
            assert (features["name"], features["datatype"]) == ("features", "FP32")
            assert features["shape"] == [-1, len(columns(system))]
            assert tuple(features["parameters"]["columns"]) == columns(system)
            assert (out["name"], out["shape"]) == ("scores", [-1, 1])
            assert out["parameters"]["actions"] == ["gain"]
        with pytest.raises(InferenceServerException, match="No such model; there is ranker"):
            client.get_model_metadata("other")


@triton
@pytest.mark.parametrize("version", ["", "named"])
@pytest.mark.parametrize("binary_in", [True, False])
@pytest.mark.parametrize("binary_out", [True, False, None])
def test_a_client_of_triton_is_given_the_rankers_bytes(
    version: str, binary_in: bool, binary_out: bool | None,
    system: System, served: str, rows: np.ndarray,
) -> None:  # fmt: skip
    from tritonclient.http import InferenceServerClient, InferInput, InferRequestedOutput

    if not binary_in:
        rows = np.nan_to_num(rows)  # tritonclient writes NaN, which is no JSON
    asked = InferInput("features", list(rows.shape), "FP32")
    asked.set_data_from_numpy(rows, binary_data=binary_in)
    outputs = None
    if binary_out is not None:
        outputs = [InferRequestedOutput("scores", binary_data=binary_out)]
    with InferenceServerClient(served) as client:
        found = client.infer(
            "ranker", [asked], outputs=outputs, request_id="7",
            model_version=version and system.policy.bundle,
        )  # fmt: skip
    told = found.get_response()
    assert (told["id"], told["model_version"]) == ("7", system.policy.bundle)
    assert found.as_numpy("scores").astype(np.float32).tobytes() == scores(system, rows)
    assert ("data" in told["outputs"][0]) == (binary_out is False)


@triton
def test_what_is_wrong_reaches_the_client_of_triton(served: str) -> None:
    from tritonclient.http import InferenceServerClient, InferInput
    from tritonclient.utils import InferenceServerException

    with InferenceServerClient(served) as client:
        asked = InferInput("features", [2, 3], "FP32")
        asked.set_data_from_numpy(np.zeros((2, 3), np.float32))
        with pytest.raises(InferenceServerException, match=r"wanted \[rows, \d+\].* came \[2, 3\]"):
            client.infer("ranker", [asked])


def test_a_missing_value_is_null(system: System, client: Client, rows: np.ndarray) -> None:
    data = [None if np.isnan(x) else float(x) for x in rows.ravel()]
    flat = {"name": "features", "shape": list(rows.shape), "datatype": "FP32", "data": data}
    width = rows.shape[1]
    nested = {**flat, "data": [data[i : i + width] for i in range(0, len(data), width)]}
    for tensor in (flat, nested):
        answer = client.post("/v2/models/ranker/infer", json={"inputs": [tensor]})
        assert answer.status_code == 200, answer.text
        (output,) = answer.json()["outputs"]
        assert (output["shape"], output["datatype"]) == ([len(rows), 1], "FP32")
        assert np.array(output["data"], np.float32).tobytes() == scores(system, rows)


def tensor(**changed: Any) -> dict[str, Any]:
    return {"name": "x", "shape": [2, 3], "datatype": "FP32", "data": [0, 1, 2, 3, 4, 5], **changed}


BINARY = {"binary_data_size": 24}
HUGE = 1 << 40


@pytest.mark.parametrize(
    ("inputs", "behind", "told"),
    [
        ([tensor(datatype="FP64")], b"", "datatype: wanted FP32, came FP64"),
        ([tensor(datatype="fp32")], b"", "wanted FP32"),
        ([tensor(shape=[3, 3])], b"", "wanted 9 numbers, came 6"),
        ([tensor(shape=[-1, 3])], b"", "sizes from 0 on"),
        ([tensor(shape=[])], b"", "sizes from 0 on"),
        ([tensor(shape=[HUGE])], b"", "sizes from 0 on"),
        ([tensor(shape=[1 << 30] * 40)], b"", "numbers, came 6"),
        ([tensor(data=[[0, 1, 2], [3, 4]])], b"", "one of another length"),
        ([tensor(data=[[0, 1], [2, 3], [4, 5]])], b"", "lists as"),
        ([tensor(data=[[0, 1, 2], 3])], b"", "lists as"),
        ([tensor(data=[0, 1, 2, 3, 4, "5"])], b"", "something else"),
        ([tensor(data=[0, 1, 2, 3, 4, True])], b"", "something else"),
        ([tensor(data=[0, 1, 2, 3, 4, [5]])], b"", "something else"),
        ([tensor(data=[0, 1, 2, 3, 4, 1e300])], b"", "an infinite one"),
        ([tensor(data=[0, 1, 2, 3, 4, 10**400])], b"", "a larger one|the request's JSON"),
        ([tensor(data="abc")], b"", "a list of numbers, came str"),
        ([{"name": "x", "shape": [1], "datatype": "FP32"}], b"", "a list of numbers, came none"),
        ([tensor(), tensor()], b"", "each input once"),
        ([tensor(parameters=BINARY)], b"\0" * 24, "came both"),
        ([{**tensor(parameters=BINARY), "shape": [9]}], b"\0" * 24, "came both"),
        ([tensor()], b"\0", "1 more bytes"),
    ],
)
def test_tensors_that_do_not_fit_are_refused(
    inputs: list[dict[str, Any]], behind: bytes, told: str
) -> None:
    head = json.dumps({"inputs": inputs}).encode()
    with pytest.raises(ProblemError, match=f"^400: .*({told})"):
        tensors_of(*request_of(head + behind, str(len(head))))


@pytest.mark.parametrize(
    ("size", "behind", "told"),
    [
        (24, b"\0" * 20, "24 bytes behind the JSON, came 20"),
        (20, b"\0" * 20, r"wanted 24 for \[2, 3\], came 20"),
        (24, b"\0" * 28, "4 more bytes"),
        ("24", b"\0" * 24, "came 24"),
        (True, b"\0" * 24, "came True"),
        (24, struct.pack("<6f", 0, 0, float("inf"), 0, 0, 0), "an infinite one"),
    ],
)
def test_bytes_that_do_not_fit_are_refused(size: Any, behind: bytes, told: str) -> None:
    sent = {"name": "x", "shape": [2, 3], "datatype": "FP32",
            "parameters": {"binary_data_size": size}}  # fmt: skip
    head = msgspec.json.encode({"inputs": [sent]})
    with pytest.raises(ProblemError, match=f"^400: .*{told}"):
        tensors_of(*request_of(head + behind, str(len(head))))


@pytest.mark.parametrize(
    ("length", "status"), [("x", 400), ("-1", 400), ("99999", 400), ("1" * 30, 400), ("٣", 400)]
)
def test_a_length_that_is_none_is_refused(length: str, status: int) -> None:
    with pytest.raises(ProblemError, match="Inference-Header-Content-Length"):
        request_of(b'{"inputs": []}', length)


@given(body=st.binary(max_size=300), length=st.none() | st.integers(0, 400).map(str))
def test_any_bytes_are_read_or_refused(body: bytes, length: str | None) -> None:
    with suppress(ProblemError):
        tensors_of(*request_of(body, length))


@given(
    shape=st.lists(st.integers(0, 4), min_size=1, max_size=3),
    binary=st.booleans(),
    seed=st.integers(0, 2**32 - 1),
)
def test_what_is_written_is_read_again(shape: list[int], binary: bool, seed: int) -> None:
    values = np.random.default_rng(seed).normal(size=shape).astype(np.float32)
    asked = InferIn(inputs=[], parameters={"binary_data_output": binary})
    body, length = response_of(asked, "ranker", "1", {"x": values, "y": values})
    told = msgspec.json.decode(body[:length])
    head = msgspec.json.encode({"inputs": told["outputs"]})
    sent = head + (body[length:] if length is not None else b"")
    found = tensors_of(*request_of(sent, str(len(head))))
    for name in ("x", "y"):
        assert (found[name].shape, found[name].tobytes()) == (values.shape, values.tobytes())


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/v2/models/none", 404),
        ("/v2/models/none/ready", 404),
        ("/v2/models/ranker/versions/none", 404),
        ("/v2/models/ranker/versions/none/ready", 400),
        ("/v2/other", 404),
        ("/v2/models/ranker/infer", 405),
    ],
)
def test_an_error_has_the_protocols_form(path: str, status: int, client: Client) -> None:
    answer = client.get(path, headers={"accept": "text/html"})
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/json"
    assert status == 400 or isinstance(answer.json()["error"], str)


@pytest.mark.parametrize(
    ("sent", "told"),
    [
        ({"inputs": []}, "one, called 'features', came none"),
        ({"inputs": [tensor()]}, "came x"),
        ({"inputs": [tensor(name="features")]}, "the columns that the model's metadata names"),
        ({"inputs": [tensor(name="features", shape=[6])]}, "metadata names"),
        ({}, "inputs"),
    ],
)
def test_inputs_of_another_model_are_refused(sent: Any, told: str, client: Client) -> None:
    answer = client.post("/v2/models/ranker/infer", json=sent)
    assert answer.status_code == 400
    assert told in answer.json()["error"]


def test_no_rows_have_no_scores_and_outputs_are_chosen_by_name(
    system: System, client: Client
) -> None:
    none = {"name": "features", "shape": [0, len(columns(system))], "datatype": "FP32", "data": []}
    answer = client.post("/v2/models/ranker/infer", json={"inputs": [none]})
    assert answer.json()["outputs"][0]["shape"] == [0, 1]
    other = {"inputs": [none], "outputs": [{"name": "loss"}]}
    answer = client.post("/v2/models/ranker/infer", json=other)
    assert (answer.status_code, "some of scores" in answer.json()["error"]) == (400, True)
    large = client.post("/v2/models/ranker/infer", content=b" " * 1_100_000)
    assert large.status_code == 413
    assert "1048576" in large.json()["error"]


def test_without_a_bundle_it_is_alive_and_not_ready(tmp_path: Any) -> None:
    bare = system_in(tmp_path)
    client = Client(application(bare))
    try:
        assert client.get("/v2/health/live").status_code == 200
        assert client.get("/v2/health/ready").status_code == 400
        assert client.get("/v2/models/ranker/ready").status_code == 400
        assert client.get("/v2/models/ranker").status_code == 404
    finally:
        client.close()
        bare.close()
