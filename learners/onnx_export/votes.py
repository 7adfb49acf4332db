"""How the members of an ensemble add up to one answer: River's `Counter`, in which the first class met wins a tie."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from river import base, compose, forest, imblearn
from river.tree import mondrian

from learners.onnx_export.answers import Label, aligned, labels_of, masks_of
from learners.onnx_export.convert import Classes, full_name, refuse
from learners.onnx_export.graph import Graph, Tensor
from schemas.errors import NotExportable, ReleaseRefused

_SAMPLERS = (
    imblearn.RandomUnderSampler,
    imblearn.RandomOverSampler,
    imblearn.RandomSampler,
    imblearn.HardSamplingClassifier,
)
_ANSWER_NONE = (forest.AMFRegressor, mondrian.MondrianTreeRegressor)


def refuse_voter(member: object, step: str) -> None:
    """Raise NotExportable unless the member is a classifier that has an exact form and answers probabilities."""
    refuse(member, step, "predict")
    last = last_step(member)
    while type(last) in _SAMPLERS:
        last = last_step(last._wrapped_model)  # type: ignore[attr-defined]
    asked = getattr(type(last), "predict_proba_one", base.Classifier.predict_proba_one)
    if asked is base.Classifier.predict_proba_one:
        reason = "it has no predict_proba_one, which its ensemble asks for"
        raise NotExportable(full_name(last), step, reason, "a classifier with probabilities")


def refuse_regressor(member: object, step: str) -> None:
    """Raise NotExportable unless the member is a regressor that has an exact form."""
    refuse(member, step, "predict")
    last = last_step(member)
    if not isinstance(last, base.Regressor):
        raise NotExportable(full_name(last), step, "it answers something else", "a regressor")


def refuse_none(members: Sequence[object], graph: Graph) -> None:
    """Raise ReleaseRefused while a regressor has learned nothing and answers None: whoever calculates with it raises.

    Raises:
        ReleaseRefused: so that the learner goes on; the first example settles it.
    """
    for member in members:
        last = last_step(member)
        while isinstance(last, base.Wrapper):
            last = last_step(last._wrapped_model)
        if type(last) in _ANSWER_NONE and not last._is_initialized:  # type: ignore[attr-defined]
            reason = f"the {type(last).__name__} in {graph.step} has learned nothing, so River raises"
            raise ReleaseRefused("export", reason)


def last_step(member: object) -> object:
    """What answers at the end of a pipeline."""
    while isinstance(member, compose.Pipeline):
        member = next(reversed(member.steps.values()))
    return member


@dataclass(frozen=True, slots=True)
class Votes:
    """The votes of all members, added up.

    Attributes:
        total: doubles, shape (N, len(labels)).
        labels: River's classes, in the order in which the members' dicts bring them.
            unanswered: as in `Frame`.
    """

    total: Tensor
    labels: tuple[Label, ...]
    unanswered: tuple[Tensor, ...]


def nobody(members: Sequence[Classes]) -> Classes:
    """The answer of an ensemble whose members know no class; where one raises, it raises."""
    return Classes("", (), masks_of(members))


def counted(graph: Graph, members: Sequence[Classes], weights: Sequence[float] = ()) -> Votes | None:
    """The sum of the members' probabilities, each times its weight; None when no member knows a class.

    Raises:
        NotExportable: a member's dict has other classes, or another order, from row to row: nothing says here which
            class River's sum of the dicts meets first, and so which one wins a tie.
        ReleaseRefused: a weight is not finite.
    """
    labels = labels_of(members)
    if not labels:
        return None
    terms = []
    for place, (member, weight) in enumerate(zip(members, weights or [1.0] * len(members), strict=True)):
        if member.winner is not None:
            reason = f"the classes of its member {place} differ from row to row, and their order breaks ties"
            raise NotExportable("river.ensemble", graph.step, reason, "members that answer all classes they know")
        if member.labels:
            term = aligned(graph, member, labels)
            terms.append(term if weight == 1.0 else graph.op("Mul", term, graph.numbers([weight])))
    # One by one and in River's order, so that sums that are equal in River are equal here.
    total = graph.op("Sum", *terms) if len(terms) > 1 else terms[0]
    return Votes(total, labels, masks_of(members))
