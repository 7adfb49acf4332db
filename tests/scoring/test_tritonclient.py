"""The edge as NVIDIA's own client meets it, over a real socket: it is told a URL and nothing of freshet."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from schemas.records import Alias
from scoring.admin import Admin
from scoring.loader import Loader
from scoring.repository import Repository
from tests.scoring.artifacts import release, unanswering
from tests.scoring.mirror import Asked, mirror
from tests.scoring.serving import Serving

triton = pytest.importorskip("tritonclient.http", reason="it would have shown that tritonclient can use the edge")
Failed = pytest.importorskip("tritonclient.utils").InferenceServerException


@pytest.fixture(scope="module")
def serving() -> Iterator[Serving]:
    asked = Asked(mirror(1), mirror(2), release(3), release(0, unanswering()))
    for model, version in (("mirror", 2), ("m", 3)):
        asked.registry.alias(Alias(model=model, alias="live", version=version, changed_at=0))
    with Serving(asked.door) as serving:
        yield serving


@pytest.fixture(scope="module")
def client(serving: Serving) -> Iterator[Any]:
    with triton.InferenceServerClient(f"127.0.0.1:{serving.port}", network_timeout=10, connection_timeout=10) as client:
        yield client


def given(name: str, values: Any, datatype: str, *, binary: bool = True) -> Any:
    tensor = triton.InferInput(name, list(values.shape), datatype)
    tensor.set_data_from_numpy(values, binary_data=binary)
    return tensor


NUMBERS = np.array([[0.1, 2, 3], [4, 5, 6]])
CATEGORIES = np.array([["CH", "Zürich"], ["", "\U0001f600"]], dtype=object)


def test_health_and_metadata(client: Any) -> None:
    """Live, ready, what the server is, what a model reads, with and without a version."""
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("mirror")
    assert client.is_model_ready("mirror", "1")
    assert not client.is_model_ready("mirror", "9")
    assert not client.is_model_ready("other")
    assert client.get_server_metadata()["name"] == "freshet"
    assert client.get_server_metadata()["extensions"] == ["binary_tensor_data"]
    model = client.get_model_metadata("mirror", "1")
    assert (model["name"], model["versions"], model["platform"]) == ("mirror", ["1", "2"], "onnx_onnxv1")
    assert [(each["name"], each["datatype"], each["shape"]) for each in model["inputs"]] == [
        ("numbers", "FP64", [-1, 3]),
        ("categories", "BYTES", [-1, 2]),
    ]


@pytest.mark.parametrize("binary_in", [True, False])
@pytest.mark.parametrize("binary_out", [True, False])
def test_rows_go_in_and_come_out(client: Any, *, binary_in: bool, binary_out: bool) -> None:
    """In JSON and in bytes, either way: to the last bit."""
    inputs = [
        given("numbers", NUMBERS, "FP64", binary=binary_in),
        given("categories", CATEGORIES, "BYTES", binary=binary_in),
    ]
    names = ["seen_numbers", "seen_singles", "seen_categories", "missing", "label", "score"]
    outputs = [triton.InferRequestedOutput(name, binary_data=binary_out) for name in names]

    result = client.infer("mirror", inputs, outputs=outputs, request_id="42")

    assert result.get_response()["id"] == "42"
    assert result.get_response()["model_version"] == "2"
    assert result.as_numpy("seen_numbers").tolist() == NUMBERS.tolist()
    assert result.as_numpy("seen_singles").tolist() == NUMBERS.astype(np.float32).tolist()
    texts = [each.decode() if isinstance(each, bytes) else each for each in result.as_numpy("seen_categories").ravel()]
    assert texts == CATEGORIES.ravel().tolist()
    assert not result.as_numpy("missing").any()
    assert result.as_numpy("label").tolist() == [0, 0]
    assert result.as_numpy("score").tolist() == [2 / 1024] * 2


@pytest.mark.parametrize("datatype", ["BOOL", "UINT8", "UINT16", "UINT32", "UINT64", "INT8", "INT16", "INT32", "INT64"])
def test_every_integer_datatype_goes_through(client: Any, datatype: str) -> None:
    """As the client packs it."""
    dtype = bool if datatype == "BOOL" else datatype.lower()
    values = np.array([1, 0, 1], dtype=dtype)

    result = client.infer("mirror", [given("price", values, datatype)])

    assert result.as_numpy("seen_numbers")[:, 0].tolist() == [1.0, 0.0, 1.0]


@pytest.mark.parametrize("datatype", ["FP16", "FP32", "FP64"])
def test_every_float_datatype_goes_through(client: Any, datatype: str) -> None:
    """NaN is a missing number; all outputs come in bytes where none is asked for."""
    values = np.array([0.1, np.nan], dtype={"FP16": "f2", "FP32": "f4", "FP64": "f8"}[datatype])

    result = client.infer("mirror", [given("price", values, datatype)])

    assert np.array_equal(result.as_numpy("seen_numbers")[:, 0], values.astype(np.float64), equal_nan=True)
    assert result.as_numpy("missing").tolist() == [[False, True, True], [True, True, True]]


def test_a_version_can_be_asked(client: Any) -> None:
    """Each answers by its own weights."""
    inputs = [given("price", np.array([1.0]), "FP64")]

    results = [client.infer("mirror", inputs, model_version=version) for version in ("1", "2", "")]

    assert [result.get_response()["model_version"] for result in results] == ["1", "2", "2"]
    assert [result.as_numpy("score").tolist() for result in results] == [[1 / 1024], [2 / 1024], [2 / 1024]]


def test_no_answer_is_nan_in_bytes_and_an_error_in_json(client: Any) -> None:
    """The client reads the one and raises the other."""
    inputs = [given("hour(timestamp)", np.array([1.0]), "FP64")]

    in_bytes = client.infer("m", inputs, model_version="0")

    assert np.isnan(in_bytes.as_numpy("score")).all()
    with pytest.raises(Failed, match="no answer for row 0") as failed:
        client.infer("m", inputs, "0", outputs=[triton.InferRequestedOutput("score", binary_data=False)])
    assert failed.value.status() == "422"


def test_what_is_wrong_is_raised_in_our_words(client: Any) -> None:
    """The client finds the sentence and the status."""
    wrong = [
        (("mirror", [given("prise", np.array([1.0]), "FP64")]), "400", "did you mean 'price'"),
        (("mirror", [given("price", np.array([1.0]), "FP64")], "9"), "404", "versions that can be asked are 1, 2"),
        (("nobody", [given("price", np.array([1.0]), "FP64")]), "404", "no model of that name"),
    ]

    for arguments, status, words in wrong:
        with pytest.raises(Failed, match=words) as failed:
            client.infer(*arguments)
        assert failed.value.status() == status


def test_many_requests_at_once(serving: Serving) -> None:
    """Its asynchronous form: a hundred through eight connections."""
    inputs = [given("price", np.array([1.0]), "FP64")]
    with triton.InferenceServerClient(f"127.0.0.1:{serving.port}", concurrency=8, network_timeout=10) as client:
        waiting = [client.async_infer("mirror", inputs, request_id=str(number)) for number in range(100)]
        results = [each.get_result(timeout=10).get_response()["id"] for each in waiting]

    assert results == [str(number) for number in range(100)]


def test_the_repository_through_the_admin_listener() -> None:
    """Index, unload, load: then the model answers again, through the same client."""
    asked = Asked()
    loader = Loader(asked.registry, asked.engine)
    asked.registry.release(mirror(4))
    asked.registry.alias(Alias(model="mirror", alias="live", version=4, changed_at=0))
    admin = Admin(Repository(asked.engine, asked.registry, loader), asked.door)
    with Serving(admin) as serving, triton.InferenceServerClient(f"127.0.0.1:{serving.port}") as client:
        before = client.get_model_repository_index()
        client.load_model("mirror")
        loaded = client.is_model_ready("mirror"), client.get_model_repository_index()
        client.unload_model("mirror")
        unloaded = client.is_model_ready("mirror")
        with pytest.raises(Failed, match="comes from `releases`"):
            client.load_model("mirror", config="{}")
        with pytest.raises(Failed, match="no model of that name"):
            client.load_model("nobody")

    assert before == [{"name": "mirror", "version": "4", "state": "UNAVAILABLE", "reason": "loading"}]
    assert loaded == (True, [{"name": "mirror", "version": "4", "state": "READY", "reason": ""}])
    assert not unloaded
