"""Steps that arrange features: pipelines, unions and selections."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from river import compose

from learners.onnx_export.convert import Answer, Role, full_name, predict, refuse, settings, transform
from learners.onnx_export.frame import Frame, join
from learners.onnx_export.graph import Graph
from learners.onnx_export.step_order import refuse_beside, refuse_order, refuse_renaming
from schemas.errors import NotExportable


@settings.register(compose.Pipeline)
def settings_of_pipeline(pipeline: compose.Pipeline, step: str, role: Role) -> None:
    if not pipeline.steps:
        raise NotExportable(full_name(pipeline), step, "it has no steps", "a pipeline that ends in a classifier")
    *names, last = pipeline.steps
    for name in names:
        refuse(pipeline.steps[name], f"{step}/{name}", "transform")
    refuse(pipeline.steps[last], f"{step}/{last}", role)
    refuse_order(pipeline.steps, step)
    if "/" in step:
        refuse_renaming([*pipeline.steps.values()], step)


@transform.register(compose.Pipeline)
def transform_by_pipeline(pipeline: compose.Pipeline, graph: Graph, frame: Frame) -> Frame:
    return _through(pipeline.steps.items(), graph, frame)


@predict.register(compose.Pipeline)
def predict_by_pipeline(pipeline: compose.Pipeline, graph: Graph, frame: Frame) -> Answer:
    *transformers, (name, last) = pipeline.steps.items()
    frame = _through(transformers, graph, frame)
    with graph.at(name):
        return predict(last, graph, frame)


def _through(steps: Iterable[tuple[str, object]], graph: Graph, frame: Frame) -> Frame:
    for name, step in steps:
        with graph.at(name):
            frame = transform(step, graph, frame)
    return frame


@settings.register(compose.TransformerUnion)
def settings_of_union(union: compose.TransformerUnion, step: str, role: Role) -> None:
    for name, part in union.transformers.items():
        refuse(part, f"{step}/{name}", "transform")
    refuse_beside(union, step)


@transform.register(compose.TransformerUnion)
def transform_by_union(union: compose.TransformerUnion, graph: Graph, frame: Frame) -> Frame:
    return join(graph, [_through([part], graph, frame) for part in union.transformers.items()])


@transform.register(compose.SelectType)
def transform_by_type(step: compose.SelectType, graph: Graph, frame: Frame) -> Frame:
    return replace(
        frame,
        numbers=frame.numbers if issubclass(float, step.types) else None,
        texts=frame.texts if issubclass(str, step.types) else None,
        one_hots=frame.one_hots if issubclass(int, step.types) else (),  # River's one-hot values are 0 and 1, ints
    )


@transform.register(compose.Discard)
def transform_by_discard(step: compose.Discard, graph: Graph, frame: Frame) -> Frame:
    _refuse_one_hot_keys(step, step.keys, graph, frame)
    return frame.keep(
        graph,
        numbers=set(frame.number_names) - step.keys,
        texts=set(frame.text_names) - step.keys,
    )


@transform.register(compose.Select)
def transform_by_select(step: compose.Select, graph: Graph, frame: Frame) -> Frame:
    """Keep the selected columns, and mark the rows in which River's `x[key]` raises KeyError."""
    _refuse_one_hot_keys(step, step.keys, graph, frame)
    unknown = sorted(step.keys - {*frame.number_names, *frame.text_names})
    if unknown:
        reason = f"it selects {unknown[0]!r}, which is not a feature here, so River raises on every event"
        raise NotExportable(full_name(step), graph.step, reason, f"Select of features among {_known(frame)}")
    kept = replace(frame.keep(graph, numbers=step.keys, texts=step.keys), one_hots=())
    missing = []
    if kept.numbers:
        missing.append(graph.op("IsNaN", kept.numbers.tensor))
    if kept.texts:
        missing.append(graph.op("Equal", kept.texts.tensor, graph.strings([""])))
    masks = (graph.any_column(mask) for mask in missing)
    return replace(kept, unanswered=(*frame.unanswered, *masks))


def _refuse_one_hot_keys(step: object, keys: Iterable[str], graph: Graph, frame: Frame) -> None:
    key = next((key for one_hot in frame.one_hots for key in one_hot.emits(sorted(keys))), None)
    if key is not None:
        reason = f"{key!r} may be one value of a category, which is not a column any more"
        raise NotExportable(full_name(step), graph.step, reason, "it before the OneHotEncoder")


def _known(frame: Frame) -> str:
    return ", ".join(map(str, (*frame.number_names, *frame.text_names))) or "none"
