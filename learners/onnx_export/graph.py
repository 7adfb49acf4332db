"""One ONNX graph, built node by node: double arithmetic, pinned versions, finite constants."""

from __future__ import annotations

import contextlib
import math
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
        # Written where it stays: `helper.make_graph` and `make_model` each copy all there is.
        self._model = onnx.ModelProto(ir_version=IR_VERSION, producer_name="freshet")
        self._graph = self._model.graph
        self._published: dict[Tensor, str] = {}
        self._step = ""
        self._nodes = 0
        self._constants = 0
        self._zeros: Tensor | None = None
        self._nearly_one: dict[Tensor, npt.NDArray[np.float64]] = {}

    @property
    def step(self) -> str:
        """Where in the pipeline the converter stands now, for names and errors."""
        return self._step

    @contextlib.contextmanager
    def at(self, name: str) -> Iterator[None]:
        """Go one step deeper into the pipeline."""
        above = self._step
        self._step = f"{above}/{name}" if above else name
        try:
            yield
        finally:
            self._step = above

    def input(self, name: str, element: int, width: int) -> Tensor:
        """Declare an input of shape (N, width)."""
        _declare(self._graph.input, name, element, ["N", width])
        return name

    def output(self, name: str, value: Tensor, element: int, shape: Sequence[int | str]) -> None:
        """Publish `value` under a name that does not depend on the pipeline."""
        if value in self._published or not any(value in node.output for node in self._graph.node):
            value = self.op("Identity", value)
        self._published[value] = name
        _declare(self._graph.output, name, element, shape)

    def op(self, op_type: str, *inputs: Tensor, domain: str = "", **attributes: object) -> Tensor:
        """Append a node with one output and return that output."""
        if op_type in {"Mul", "Div"} and inputs[-1] in self._nearly_one:
            return self._by_nearly_one(op_type, *inputs)
        result = self._name(op_type)
        self._add_node(op_type, inputs, [result], result, domain=domain, **attributes)
        return result

    def ops(self, op_type: str, *inputs: Tensor, outputs: int, domain: str = "", **attributes: object) -> list[Tensor]:
        """Append a node with several outputs and return them: Split, TopK."""
        name = self._name(op_type)
        results = [f"{name}/{place}" for place in range(outputs)]
        self._add_node(op_type, inputs, results, name, domain=domain, **attributes)
        return results

    def numbers(self, values: npt.ArrayLike, *, infinite: bool = False, missing: bool = False) -> Tensor:
        """A double constant.

        Args:
            values: numbers of any shape.
            infinite: allow infinities, where a converter divides by one on purpose.
            missing: allow NaN, where a converter means a missing feature.

        Raises:
            ReleaseRefused: a value is not finite: the learner is broken and must not be served.
        """
        array = np.asarray(values, dtype=np.float64)
        # A number alone, as most constants are, is looked at in Python: numpy takes microseconds to begin.
        alone = array.item() if array.size == 1 else None
        is_finite = np.isfinite(array).all() if alone is None else math.isfinite(alone)
        if not is_finite and ((not missing and np.isnan(array).any()) or (not infinite and np.isinf(array).any())):
            raise ReleaseRefused("export", f"{self.step} holds a number that is not finite")
        constant = self._constant(array)
        if alone is not None and alone != 1.0 and abs(alone - 1.0) < 1e-6 and np.float32(alone) == 1.0:
            self._nearly_one[constant] = array
        return constant

    def nan(self) -> Tensor:
        """The double that answers nothing."""
        return self.numbers([np.nan], missing=True)

    def row(self, values: Sequence[float], *, missing: bool = False) -> Tensor:
        """The same numbers in every row, whatever the data; shape (N, len(values)). NaN only if `missing`."""
        return self.op("Add", self._column_of_zeros(), self.numbers([list(values)], missing=missing))

    def filled(self, values: Tensor, number: float = 0.0) -> Tensor:
        """The doubles, with `number` where one is missing: 0.0 is River's "a missing feature is skipped" in a sum."""
        return self.op("Where", self.op("IsNaN", values), self.numbers(number), values)

    def total(self, values: Tensor, axis: int = 1, *, keepdims: bool = True) -> Tensor:
        """The sum along one axis."""
        return self.op("ReduceSum", values, self.integers([axis]), keepdims=int(keepdims))

    def columns(self, values: Tensor, places: Sequence[int]) -> Tensor:
        """The columns at these places; shape (N, len(places))."""
        return self.op("Gather", values, self.integers(places), axis=1)

    def any_column(self, mask: Tensor) -> Tensor:
        """Whether any column of a bool tensor of shape (N, width) is true; shape (N, 1)."""
        counted = self.op("Cast", mask, to=TensorProto.INT64)
        return self.op("Cast", self.op("ReduceMax", counted, self.integers([1]), keepdims=1), to=TensorProto.BOOL)

    def integers(self, values: npt.ArrayLike) -> Tensor:
        """An int64 constant of any shape: axes and indices."""
        return self._constant(np.asarray(values, dtype=np.int64))

    def strings(self, values: Sequence[str]) -> Tensor:
        """A string constant of shape (1, len(values)): one per column."""
        encoded = [value.encode() for value in values]
        name = self._name("strings")
        self._graph.initializer.append(_texts(name, [1, len(encoded)], encoded))
        self._constants += 1
        return name

    def lookup(self, keys: Tensor, table: Mapping[str, float], otherwise: float = 0.0) -> Tensor:
        """Replace each string by its number in `table`, which has one at least, or by `otherwise`.

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
            keys_tensor=_texts("keys", [len(table)], [key.encode() for key in table]),
            values_tensor=_raw("values", values),
            default_tensor=_raw("default", np.full(1, float(otherwise))),
        )

    def model(self, name: str, version: int, properties: Mapping[str, str]) -> onnx.ModelProto:
        """The finished model, with `properties` as its metadata, and in it the operators that are no standard ones."""
        foreign = {(node.domain, node.op_type) for node in self._graph.node if node.domain not in ("", ML_DOMAIN)}
        opsets = {"": OPSET, ML_DOMAIN: ML_OPSET, **dict.fromkeys(sorted(domain for domain, _ in foreign), 1)}
        own = {"operators": ", ".join(f"{domain}.{kind}" for domain, kind in sorted(foreign))} if foreign else {}
        model = onnx.ModelProto()
        model.CopyFrom(self._model)
        # Not an Identity node for each output, which costs a session a twentieth of its start.
        for node in model.graph.node:
            node.input[:] = [self._published.get(value, value) for value in node.input]
            node.output[:] = [self._published.get(value, value) for value in node.output]
        model.graph.name = name
        model.model_version = version
        for domain, opset in opsets.items():
            model.opset_import.add(domain=domain, version=opset)
        for key, value in {**properties, **own}.items():
            model.metadata_props.add(key=key, value=value)
        return model

    def _by_nearly_one(self, op_type: str, values: Tensor, constant: Tensor) -> Tensor:
        """`op_type` in two steps, the second exact, because it is by a power of two.

        onnxruntime compares a single constant with 1 as float (NoopElimination, 1.32), and so drops a factor that
        differs from 1 by less than 6e-8.
        """
        doubled = self._constant(2.0 * self._nearly_one[constant])
        return self.op("Mul", self.op(op_type, values, doubled), self.numbers(0.5 if op_type == "Mul" else 2.0))

    def _column_of_zeros(self) -> Tensor:
        """Shape (N, 1), made of an input, because N is known only when the graph runs."""
        if self._zeros is None:
            given = self._graph.input[0]
            first = self.columns(given.name, [0])
            is_text = given.type.tensor_type.elem_type == TensorProto.STRING
            mask = self.op("Equal", first, self.strings([""])) if is_text else self.op("IsNaN", first)
            self._zeros = self.op("Mul", self.op("Cast", mask, to=TensorProto.DOUBLE), self.numbers(0.0))
        return self._zeros

    def _constant(self, array: npt.NDArray[Any]) -> Tensor:
        name = self._name("constant")
        self._graph.initializer.append(_raw(name, array))
        self._constants += 1
        return name

    def _add_node(
        self, op_type: str, inputs: Sequence[Tensor], outputs: Sequence[Tensor], name: str, **more: Any
    ) -> None:
        domain: str = more.pop("domain", "")
        node = self._graph.node.add(op_type=op_type, input=inputs, output=outputs, name=name, domain=domain)
        for attribute, value in more.items():
            node.attribute.append(_attribute(attribute, value))
        self._nodes += 1

    def _name(self, kind: str) -> Tensor:
        return f"{self._step}/{kind}_{self._nodes}_{self._constants}"


def _declare(values: Any, name: str, element: int, shape: Sequence[int | str]) -> None:
    tensor = values.add(name=name).type.tensor_type
    tensor.elem_type = element
    for size in shape:
        tensor.shape.dim.add(**{"dim_param" if isinstance(size, str) else "dim_value": size})


_ELEMENTS = {np.dtype(np.float64): TensorProto.DOUBLE, np.dtype(np.int64): TensorProto.INT64}


def _raw(name: str, array: npt.NDArray[Any]) -> onnx.TensorProto:
    # `tobytes` gives the order of C, whatever the array's own.
    return TensorProto(name=name, data_type=_ELEMENTS[array.dtype], dims=array.shape, raw_data=array.tobytes())


def _texts(name: str, shape: Sequence[int], encoded: Sequence[bytes]) -> onnx.TensorProto:
    return TensorProto(name=name, data_type=TensorProto.STRING, dims=shape, string_data=encoded)


def _attribute(name: str, value: object) -> onnx.AttributeProto:
    if isinstance(value, list) and value and type(value[0]) is int:
        # `helper.make_attribute` looks at each of the thousands of numbers of a forest for its type.
        return onnx.AttributeProto(name=name, type=onnx.AttributeProto.INTS, ints=value)
    return helper.make_attribute(name, value)
