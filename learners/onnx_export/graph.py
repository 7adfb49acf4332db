"""One ONNX graph, built node by node: double arithmetic, pinned versions, finite constants."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper

from schemas.errors import ReleaseRefused

# Pinned, never "the newest": onnx 1.23 defaults to opset 28, which edges with an older onnxruntime cannot load.
OPSET = 20  # the first with StringConcat
ML_OPSET = 5  # the first whose TreeEnsemble is double from end to end
IR_VERSION = 10

ML_DOMAIN = "ai.onnx.ml"

Tensor: TypeAlias = str
"""The name of a tensor: in an ONNX graph, a value *is* its name."""


class Graph:
    """Collects the inputs, constants, nodes and outputs of one graph; every value is named after the step it serves.

    Constants are doubles and finite: NaN means "missing" in the data, so a NaN that came from a broken learner would
    pass for a missing value and be answered instead of refused.

    >>> graph = Graph()
    >>> x = graph.input("numbers", TensorProto.DOUBLE, 2)
    >>> graph.output("doubled", graph.op("Mul", x, graph.numbers([2.0, 2.0])), TensorProto.DOUBLE, ["N", 2])
    >>> graph.model("doubler", 1, {}).opset_import[0].version
    20
    """

    def __init__(self) -> None:
        self._inputs: list[onnx.ValueInfoProto] = []
        self._outputs: list[onnx.ValueInfoProto] = []
        self._constants: list[onnx.TensorProto] = []
        self._nodes: list[onnx.NodeProto] = []
        self._path: list[str] = []

    @property
    def step(self) -> str:
        """Where in the pipeline the converter stands now, for names and errors."""
        return "/".join(self._path)

    @contextlib.contextmanager
    def at(self, name: str) -> Iterator[None]:
        """Go one step deeper into the pipeline."""
        self._path.append(name)
        try:
            yield
        finally:
            self._path.pop()

    def input(self, name: str, element: int, width: int) -> Tensor:
        """Declare an input of shape (N, width)."""
        self._inputs.append(helper.make_tensor_value_info(name, element, ["N", width]))
        return name

    def output(self, name: str, value: Tensor, element: int, shape: Sequence[int | str]) -> None:
        """Publish `value` under a name that does not depend on the pipeline."""
        self._nodes.append(helper.make_node("Identity", [value], [name], name=name))
        self._outputs.append(helper.make_tensor_value_info(name, element, list(shape)))

    def op(self, op_type: str, *inputs: Tensor, domain: str = "", **attributes: object) -> Tensor:
        """Append a node with one output and return that output."""
        result = self._name(op_type)
        self._nodes.append(helper.make_node(op_type, list(inputs), [result], name=result, domain=domain, **attributes))
        return result

    def numbers(self, values: npt.ArrayLike, *, infinite: bool = False) -> Tensor:
        """A double constant.

        Args:
            values: numbers of any shape.
            infinite: allow infinities, where a converter divides by one on purpose.

        Raises:
            ReleaseRefused: a value is not finite: the learner is broken and must not be served.
        """
        array = np.asarray(values, dtype=np.float64)
        if np.isnan(array).any() or (not infinite and not np.isfinite(array).all()):
            raise ReleaseRefused("export", f"{self.step} holds a number that is not finite")
        return self._constant(array)

    def nan(self) -> Tensor:
        """The double that answers nothing."""
        return self._constant(np.full(1, np.nan))

    def any_column(self, mask: Tensor) -> Tensor:
        """Whether any column of a bool tensor of shape (N, width) is true; shape (N, 1)."""
        counted = self.op("Cast", mask, to=TensorProto.INT64)
        return self.op("Cast", self.op("ReduceMax", counted, self.integers([1]), keepdims=1), to=TensorProto.BOOL)

    def integers(self, values: Sequence[int]) -> Tensor:
        """An int64 constant: axes and indices."""
        return self._constant(np.asarray(values, dtype=np.int64))

    def strings(self, values: Sequence[str]) -> Tensor:
        """A string constant of shape (1, len(values)): one per column."""
        encoded = [value.encode() for value in values]
        return self._add(helper.make_tensor(self._name("strings"), TensorProto.STRING, [1, len(encoded)], encoded))

    def lookup(self, keys: Tensor, table: Mapping[str, float]) -> Tensor:
        """Replace each string by its number in `table`, 0.0 where the table has none.

        Raises:
            ReleaseRefused: a number of the table is not finite.
        """
        values = np.fromiter(table.values(), np.float64, len(table))
        if not np.isfinite(values).all():
            raise ReleaseRefused("export", f"{self.step} holds a number that is not finite")
        return self.op(
            "LabelEncoder",
            keys,
            domain=ML_DOMAIN,
            keys_tensor=helper.make_tensor("keys", TensorProto.STRING, [len(table)], [k.encode() for k in table]),
            values_tensor=_raw("values", values),
            default_tensor=_raw("default", np.zeros(1)),
        )

    def model(self, name: str, version: int, properties: Mapping[str, str]) -> onnx.ModelProto:
        """The finished model, with `properties` as its metadata."""
        model = helper.make_model(
            helper.make_graph(self._nodes, name, self._inputs, self._outputs, self._constants),
            opset_imports=[helper.make_opsetid("", OPSET), helper.make_opsetid(ML_DOMAIN, ML_OPSET)],
            ir_version=IR_VERSION,
            producer_name="freshet",
            model_version=version,
        )
        helper.set_model_props(model, dict(properties))
        return model

    def _constant(self, array: npt.NDArray[Any]) -> Tensor:
        return self._add(_raw(self._name("constant"), array))

    def _add(self, constant: onnx.TensorProto) -> Tensor:
        self._constants.append(constant)
        name: str = constant.name
        return name

    def _name(self, kind: str) -> Tensor:
        return f"{self.step}/{kind}_{len(self._nodes)}_{len(self._constants)}"


def _raw(name: str, array: npt.NDArray[Any]) -> onnx.TensorProto:
    element = helper.np_dtype_to_tensor_dtype(array.dtype)
    return helper.make_tensor(name, element, array.shape, np.ascontiguousarray(array).tobytes(), raw=True)
