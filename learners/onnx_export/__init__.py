"""River models as ONNX graphs that give River's own answers: one small file per family of estimators.

    convert.py      the three registries, the walk through a model, `to_onnx`
    graph.py        `Graph`: one graph, node by node: `op`, `numbers`, `row`, `lookup`, `filled`, `total`, ...
    frame.py        `Frame`: what flows from step to step; `spread`, `dense`, `refuse_texts`
    answers.py      `Classes`, `Value`, `Score`; `aligned`, `winners`, `certain` for ensembles
    maths.py        formulas that several families share
    tree_table.py   `TreeTable`: trees of any kind to the leaf that each row reaches

A family is a file that registers converters, each for one exact class (a subclass may answer otherwise), and a line in
`FAMILIES`:

    @settings.register(thing.Thing)                      # optional; runs when a model file is loaded, before any data
    def settings_of_thing(thing, step, role):
        if thing.odd:
            raise NotExportable(full_name(thing), step, "odd has no exact form", "Thing(odd=False)")
        refuse(thing.member, f"{step}/member", "predict")

    @transform.register(thing.Thing)                     # a step that changes features
    def transform_by_thing(thing, graph, frame) -> Frame: ...

    @predict.register(thing.Thing)                       # a last step: Classes, Value or Score
    def predict_by_thing(thing, graph, frame) -> Value:
        member = value_of(thing.member, graph, frame, "member")
        doubled = graph.op("Mul", member.value, graph.numbers([2.0]))
        return replace(member, value=doubled)

Rules: the estimator is only read (`.get`, never `[]` on River's defaultdicts). A missing feature is NaN, and means what
River does without the key: `filled` where a sum skips it, `missing_is_yes` where a tree goes on without it. What has no
exact form is refused by name, never approximated. `tests/learners/export_laws.py` holds what every family must pass.
"""

from learners.onnx_export import (
    aggregates,
    anomaly,
    calibration,
    clusters,
    compose,
    conformal,
    dummy,
    ensemble,
    expansions,
    factorization,
    feature_selectors,
    forests,
    functions,
    hashing,
    hoeffding,
    imputers,
    linear,
    mondrian,
    multiclass,
    naive_bayes,
    names,
    ordinals,
    patches,
    preprocessing,
    row_steps,
    scalers,
    selection,
    stacking,
    wrappers,
)
from learners.onnx_export.convert import refuse_unexportable, to_onnx

# Importing a family registers its converters, so the list below is the list of families.
FAMILIES = (
    aggregates,
    anomaly,
    calibration,
    clusters,
    compose,
    conformal,
    dummy,
    ensemble,
    expansions,
    factorization,
    feature_selectors,
    forests,
    functions,
    hashing,
    hoeffding,
    imputers,
    linear,
    mondrian,
    multiclass,
    naive_bayes,
    names,
    ordinals,
    patches,
    preprocessing,
    row_steps,
    scalers,
    selection,
    stacking,
    wrappers,
)

__all__ = ["FAMILIES", "refuse_unexportable", "to_onnx"]
