"""Stacking: a classifier whose features are what other classifiers answer."""

from __future__ import annotations

from river import ensemble, forest, linear_model, naive_bayes, tree

from learners.onnx_export.answers import masks_of
from learners.onnx_export.convert import Classes, Role, classes_of, full_name, predict, refuse, settings
from learners.onnx_export.frame import Columns, Frame, join
from learners.onnx_export.graph import Graph
from learners.onnx_export.votes import last_step, refuse_voter
from schemas.errors import NotExportable

# To a sum, a probability of 0 is as good as none.
_SUMS = (linear_model.LogisticRegression, linear_model.SoftmaxRegression)
# They answer every class that they know for every row.
_COMPLETE = (
    *_SUMS,
    forest.AMFClassifier,
    forest.ARFClassifier,
    naive_bayes.GaussianNB,
    naive_bayes.MultinomialNB,
    naive_bayes.BernoulliNB,
    naive_bayes.ComplementNB,
    tree.ExtremelyFastDecisionTreeClassifier,
    tree.HoeffdingAdaptiveTreeClassifier,
    tree.HoeffdingTreeClassifier,
    tree.LASTClassifier,
)


@settings.register(ensemble.StackingClassifier)
def settings_of_stacking(model: ensemble.StackingClassifier, step: str, role: Role) -> None:
    for i, member in enumerate(model):
        refuse_voter(member, f"{step}/{i}")
        if type(model.meta_classifier) not in _SUMS and type(last_step(member)) not in _COMPLETE:
            reason = "it leaves classes out row by row, which its meta_classifier tells from a probability of 0"
            names = ", ".join(cls.__name__ for cls in _COMPLETE)
            raise NotExportable(full_name(last_step(member)), f"{step}/{i}", reason, f"one of {names} here")
    refuse(model.meta_classifier, f"{step}/meta_classifier", "predict")


@predict.register(ensemble.StackingClassifier)
def predict_by_stacking(model: ensemble.StackingClassifier, graph: Graph, frame: Frame) -> Classes:
    members = [classes_of(member, graph, frame, str(i)) for i, member in enumerate(model)]
    unanswered = masks_of(members)
    parts = [
        Frame(numbers=Columns(member.probabilities, tuple(f"oof_{i}_{label}" for label in member.labels)))
        for i, member in enumerate(members)
        if member.labels
    ]
    # None may be left until a member knows a class.
    parts.append(Frame(unanswered=unanswered, thinned=True))
    if model.include_features:
        parts.append(frame)
    return classes_of(model.meta_classifier, graph, join(graph, parts), "meta_classifier")
