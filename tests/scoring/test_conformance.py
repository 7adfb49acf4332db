"""The door beside the Open Inference Protocol's own OpenAPI document, which others wrote and schemathesis reads."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from schemas.records import Alias
from tests.scoring.mirror import Asked, mirror, whole
from tests.scoring.serving import Serving

schemathesis = pytest.importorskip("schemathesis", reason="it would have shown that the protocol's document is kept to")

DOCUMENT = Path(__file__).parents[3] / "shared" / "oip" / "open_inference_rest.yaml"
# `make soak` asks for more.
CASES = int(os.environ.get("FRESHET_CONFORMANCE_CASES", "20"))
SETTINGS = settings(
    max_examples=CASES, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck)
)


def document() -> dict[str, Any]:
    """The protocol's document, with what stands in its prose and not in its schemas.

    * Paths are templates; the version may be left out of them.
    * "A failed request must be indicated by an HTTP error status (typically 400)", whose body has `error`.
    * Clients send null for what is optional and not there.
    * There are a model that is there and one that is not, and versions of either kind.
    """
    if not DOCUMENT.exists():
        pytest.skip("../shared/oip is not there: it would have shown that the protocol's document is kept to")
    raw: dict[str, Any] = yaml.safe_load(DOCUMENT.read_text().replace("${", "{"))
    schemas = raw["components"]["schemas"]
    schemas["inference_error_response"]["required"] = ["error"]
    for name in ("id", "parameters", "outputs"):
        _nullable(schemas["inference_request"]["properties"], name)
    for kind in ("request_input", "request_output"):
        _nullable(schemas[kind]["properties"], "parameters")
    named = {"MODEL_NAME": ["mirror", "other"], "MODEL_VERSION": ["1", "2", "7"]}
    error = {"application/json": {"schema": {"$ref": "#/components/schemas/inference_error_response"}}}
    for path, item in list(raw["paths"].items()):
        for parameter in item.get("parameters", ()):
            parameter["schema"]["enum"] = named[parameter["name"]]
        for method in ("get", "post"):
            if method in item:
                item[method]["responses"]["default"] = {"description": "an error", "content": error}
        if "/versions/" in path:
            short = {key: _unnamed(value) for key, value in item.items()}
            short["parameters"] = [each for each in item["parameters"] if each["name"] != "MODEL_VERSION"]
            raw["paths"][path.replace("/versions/{MODEL_VERSION}", "")] = short
    return raw


def _nullable(properties: dict[str, Any], name: str) -> None:
    properties[name] = {"anyOf": [properties[name], {"enum": [None], "nullable": True}]}


def _unnamed(value: Any) -> Any:
    return {key: each for key, each in value.items() if key != "operationId"} if isinstance(value, dict) else value


@pytest.fixture(scope="module")
def served() -> Iterator[Any]:
    """The document, for a server that has versions 1 and 2 of a model."""
    raw = document()
    asked = Asked(mirror(1), mirror(2))
    asked.registry.alias(Alias(model="mirror", alias="live", version=2, changed_at=0))
    with Serving(asked.door) as serving:
        schema = schemathesis.openapi.from_dict(raw)
        schema.config.update(base_url=f"http://127.0.0.1:{serving.port}")
        yield schema


OPERATIONS = [
    (method, path)
    for method, path in (
        ("GET", "/v2/"),
        ("GET", "/v2/health/live"),
        ("GET", "/v2/health/ready"),
        *(
            (method, f"/v2/models/{{MODEL_NAME}}{version}{verb}")
            for version in ("", "/versions/{MODEL_VERSION}")
            for method, verb in (("GET", ""), ("GET", "/ready"), ("POST", "/infer"))
        ),
    )
]


def test_these_are_all_operations_of_the_document(served: Any) -> None:
    """So that none is left out below."""
    assert sorted(OPERATIONS) == sorted(
        (operation.ok().method.upper(), operation.ok().path) for operation in served.get_all_operations()
    )


@pytest.mark.parametrize(
    ("method", "path", "mode"),
    [
        (method, path, mode)
        for method, path in OPERATIONS
        for mode in ("POSITIVE", "NEGATIVE")
        if mode == "POSITIVE" or "{" in path  # else there is nothing that could be wrong with it
    ],
)
def test_no_generated_request_finds_a_fault(served: Any, method: str, path: str, mode: str) -> None:
    """Requests by the schema and beside it: no 5xx, the documented content type and body, bad ones refused.

    Not asked for is that every request which the schema allows be answered: it allows tensors that no model has.
    """
    operation = served[path][method]
    generation = schemathesis.GenerationMode[mode]
    strategy = operation.as_strategy(generation_mode=generation)
    skipped = [schemathesis.checks.CHECKS.get_one("positive_data_acceptance")]
    statuses: set[int] = set()

    @SETTINGS
    @given(case=strategy)
    def ask(case: Any) -> None:
        case.headers = {**(case.headers or {}), "Accept": "application/json"}
        response = case.call_and_validate(excluded_checks=skipped, timeout=10)
        statuses.add(response.status_code)

    ask()

    assert statuses <= {200, 400, 404, 405}
    assert statuses


@pytest.mark.parametrize("version", ["", "/versions/{MODEL_VERSION}"])
def test_a_request_that_the_model_can_answer_is_answered_as_documented(served: Any, version: str) -> None:
    """200, and a body that is an `inference_response`, for any rows."""
    operation = served[f"/v2/models/{{MODEL_NAME}}{version}/infer"]["POST"]
    number = st.floats(-1e6, 1e6, allow_nan=False)
    row = st.tuples(st.lists(number, min_size=3, max_size=3), st.just(["CH", "Bern"]))
    parameters = {"MODEL_NAME": "mirror"} | ({"MODEL_VERSION": "1"} if version else {})
    statuses: list[int] = []

    @SETTINGS
    @given(rows=st.lists(row, min_size=1, max_size=3), id=st.none() | st.text(st.characters(codec="utf-8"), max_size=9))
    def ask(rows: Any, id: str | None) -> None:  # noqa: A002
        body = {"id": id, "inputs": whole(*rows)}
        case = operation.Case(path_parameters=parameters, body=body, media_type="application/json")
        statuses.append(case.call_and_validate(timeout=10).status_code)

    ask()

    assert set(statuses) == {200}
