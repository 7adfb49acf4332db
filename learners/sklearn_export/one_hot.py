"""OneHotEncoder in doubles: skl2onnx's is float, and takes the number 1.5 for the category 1."""

from __future__ import annotations

from typing import Any

import numpy as np
from onnx import TensorProto
from skl2onnx.common.data_types import DoubleTensorType, StringTensorType

from learners.onnx_export.frame import full_name
from learners.onnx_export.graph import Graph, Tensor
from learners.sklearn_export.embed import begin, begin_texts, embed
from schemas.errors import NotExportable


def refuse_one_hot(encoder: Any, path: str) -> None:
    """Raise NotExportable where it raises for a new category, and for categories that are neither str nor number."""
    categories = [value for column in encoder.categories_ for value in column.tolist()]
    reason = instead = ""
    if encoder.handle_unknown == "error":
        reason = "it raises for a category that it has not met, which a graph cannot"
        instead = "set_params(handle_unknown='ignore'), which needs no new fit,"
    elif encoder.min_frequency is not None or encoder.max_categories is not None:
        reason, instead = "it puts rare categories together", "min_frequency=None and max_categories=None"
    elif not all(isinstance(value, str | int | float) and value == value for value in categories):  # noqa: PLR0124  # NaN
        reason, instead = "a category is neither a text nor a number", "texts, with a text for what is missing"
    if reason:
        raise NotExportable(full_name(encoder), path, reason, instead)


def parse_one_hot(scope: Any, encoder: Any, inputs: Any, custom_parsers: Any = None) -> Any:
    """Announce doubles at once: skl2onnx would announce floats, which a VotingClassifier behind it believes."""
    operator = scope.declare_local_operator("SklearnOneHotEncoder", encoder)
    operator.inputs = inputs
    operator.outputs.append(scope.declare_local_variable("variable", DoubleTensorType()))
    return operator.outputs


def shape_one_hot(operator: Any) -> None:
    """skl2onnx's question for the width."""
    operator.outputs[0].type = DoubleTensorType([None, len(_made(operator.raw_operator))])


def convert_one_hot(scope: Any, operator: Any, container: Any) -> None:
    """1.0 for each category that its column holds, else 0.0."""
    encoder = operator.raw_operator
    made = _made(encoder)
    places, categories = [place for place, _ in made], [category for _, category in made]
    if isinstance(operator.inputs[0].type, StringTensorType):
        graph, columns = begin_texts(encoder.n_features_in_)
        # Numbers are compared, because comparing texts would copy each once per category.
        codes = {text: float(code) for code, text in enumerate(dict.fromkeys(categories), 1)}
        columns, wanted = graph.lookup(columns, codes), [codes[text] for text in categories]
    else:
        graph, frame = begin(encoder.n_features_in_, refuse_missing=False)
        assert frame.numbers is not None
        columns, wanted = frame.numbers.tensor, [float(number) for number in categories]
    _publish_equal(graph, columns, places, wanted)
    embed(graph, scope, operator, container)


def _publish_equal(graph: Graph, columns: Tensor, places: list[int], wanted: list[float]) -> None:
    met = graph.op("Equal", graph.columns(columns, places), graph.numbers([wanted]))
    made = graph.op("Cast", met, to=TensorProto.DOUBLE)
    graph.output("variable", made, TensorProto.DOUBLE, ["N", len(wanted)])


def _made(encoder: Any) -> list[tuple[int, Any]]:
    """The column and the category of each feature, in order; one of each column may be dropped."""
    dropped = [None] * len(encoder.categories_) if encoder.drop_idx_ is None else encoder.drop_idx_
    return [
        (place, category)
        for place, column in enumerate(encoder.categories_)
        for i, category in enumerate(np.asarray(column).tolist())
        if i != dropped[place]
    ]
