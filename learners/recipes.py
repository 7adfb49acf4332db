"""Recipes: learners to name in a model file, each with when to use it and what it costs.

Each returns a new River model with an exact ONNX form that takes a model's features as they come: numbers as float,
categories as str, either of them missing, categories that were never met. Costs are ratios to `fast_linear`, measured
in one run by `python -m benchmarks.recipes`; docs/recipes.md has the table. A size is that of what has been learned, as
the journal keeps it (state) and as an edge gets it (ONNX).
"""

from __future__ import annotations

from typing import Any, Final, Literal

from river import anomaly as detectors
from river import compose, forest, linear_model, optim, preprocessing

from learners.calibration import IsotonicCalibrated, PlattCalibrated
from schemas.errors import ModelFileError

# River's slope of the squared error is twice the error, so this cuts errors beyond 1. Lower, and a rare outcome would
# be cut too: at 1.0 the mean of all scores comes out too low by half.
_STEEPEST: Final = 2.0


def fast_linear(*, step: float = 0.01, l2: float = 0.0) -> Any:
    """Return a logistic regression on one-hot categories and standardised numbers: the one to begin with.

    Use it when events are many, when each feature speaks for itself, and as what everything else must beat. Not when
    only combinations of features tell (`adaptive_forest`), and not with a category of endless values, such as an id:
    each value that is met stays, as a weight, for good.

    Cost: 1, what the others are compared with: 37 µs to learn an example, 17 to predict one. Size: about 40 bytes of
    state and of ONNX for each category met.

    Args:
        step: how far each example moves the weights. Smaller where labels come late or numbers have a long tail.
        l2: how strongly weights are drawn to zero.

    Raises:
        ModelFileError: a step that is not above 0, or an `l2` below 0.

    >>> learner = fast_linear()
    >>> for _ in range(100): learner.learn_one({"adds": 2.0, "country": "CH"}, True)
    >>> round(learner.predict_proba_one({"country": "CH"})[True], 2)
    0.69
    """
    _check(step=step, l2=l2)
    return _seen() | linear_model.LogisticRegression(optim.SGD(step), l2=l2, intercept_lr=step)


def adaptive_forest(*, trees: int = 5, depth: int = 8, seed: int = 1) -> Any:
    """Return an adaptive random forest: trees that find thresholds and combinations, and are replaced when they fail.

    Use it when features matter together, when thresholds do, or when the world changes at once. Not when events are
    many and the linear model is as good.

    It sees categories as whole numbers, in the order in which they were first met. Given texts, a tree grows a branch
    for each value, and with hundreds of values hundreds of leaves that know next to nothing; or, with River's
    `binary_split`, it breaks ties between values in the order of a set, which is another one in every process.

    Cost: 9 times `fast_linear` to learn, 5 times to predict in River, the same to answer as ONNX. Size: 40 times its
    state and twice its ONNX after 12,000 examples; bounded by trees and depth, and by the categories met.

    Args:
        trees: how many vote; cost and size grow with them.
        depth: of each tree at most, which bounds its size: 2**depth leaves.
        seed: of what the trees draw; the same examples and seed give the same forest.

    Raises:
        ModelFileError: no trees, or no depth.

    Source: Gomes et al., "Adaptive random forests for evolving data stream classification", Machine Learning 106, 2017.

    >>> learner = adaptive_forest(trees=3)
    >>> for i in range(400): learner.learn_one({"adds": float(i % 4), "country": "CH"}, i % 4 > 1)
    >>> learner.predict_one({"adds": 3.0, "country": "CH"}), learner.predict_one({"adds": 0.0})
    (True, False)
    """
    _check(trees=trees, depth=depth)
    numbered = (compose.SelectType(str) | preprocessing.OrdinalEncoder()) + compose.SelectType(float)
    # Leaves answer class frequencies: naive Bayes in each leaf costs more, to learn and to answer.
    return numbered | forest.ARFClassifier(
        n_models=trees, max_depth=depth, grace_period=100, leaf_prediction="mc", seed=seed
    )


def calibrated(
    classifier: Any = None, *, curve: Literal["platt", "isotonic"] = "platt", memory_examples: int = 10_000
) -> Any:
    """Return a classifier whose probabilities are kept true by what its own predictions turned out to be worth.

    Use it when the score is taken at its word: multiplied by a price, compared with a threshold, shown. Around a forest
    above all, whose votes are no probabilities: `calibrated(adaptive_forest())`. Not when only the order of visitors
    counts: that stays as it was.

    Cost: what is inside once more to predict, and 15 µs: around `fast_linear` 1.9 times it to learn, around a forest
    1.3 times the forest. Size: 200 bytes of state and 3 to 4 KB of ONNX more.

    Args:
        classifier: what to calibrate; `fast_linear()` where none is given.
        curve: "platt" for two numbers, which a few hundred examples settle; "isotonic" for any curve that rises, which
            takes thousands.
        memory_examples: how many examples it looks back at, more or less.

    Raises:
        ModelFileError: another curve, or no memory.

    >>> learner = calibrated()
    >>> for i in range(1000): learner.learn_one({"adds": float(i % 2)}, i % 4 == 1)
    >>> [round(learner.predict_proba_one({"adds": adds})[True], 1) for adds in (0.0, 1.0)]
    [0.0, 0.5]
    """
    if curve not in ("platt", "isotonic"):
        raise ModelFileError(f'curve={curve!r}: write "platt" or "isotonic"')
    kind = PlattCalibrated if curve == "platt" else IsotonicCalibrated
    return kind(fast_linear() if classifier is None else classifier, memory_examples=memory_examples)


def anomaly(*, trees: int = 10, height: int = 8, window: int = 250, seed: int = 1) -> Any:
    """Return half-space trees on the numbers: 0.0 is as usual, 1.0 is where hardly any event was.

    Use it to see events that are unlike the last ones (bots, broken tags, a campaign), whatever comes of them: it never
    learns the outcome, and its release is judged by parity alone. Not to predict an outcome, and not for oddities among
    categories, which it does not look at. It looks at the numbers that its first example has: give the model a `count`,
    an `hour` or a `weekday`, which every event has.

    Until the first window is full, all scores are 0.0.

    Cost: 0.7 times `fast_linear` to learn, 1.5 times to predict. Size: 64 times its state and 1.4 times its ONNX, which
    stay as they are from the first example on.

    Args:
        trees: how many spaces are divided; cost and size grow with them.
        height: how often each is halved; size grows with 2**height.
        window: how many examples are "usual": it scores by the last full window.
        seed: of where the spaces are halved.

    Raises:
        ModelFileError: no trees, no height or no window.

    Source: Tan, Ting & Liu, "Fast anomaly detection for streaming data", IJCAI 2011.

    >>> learner = anomaly(window=50)
    >>> for i in range(200): learner.learn_one({"views": float(i % 5), "adds": float(i == 0) * 40})
    >>> learner.score_one({"views": 2.0, "adds": 0.0}) < learner.score_one({"views": 2.0, "adds": 30.0})
    True
    """
    _check(trees=trees, height=height, window=window)
    trees_of_halves = detectors.HalfSpaceTrees(n_trees=trees, height=height, window_size=window, seed=seed)
    return compose.SelectType(float) | preprocessing.MinMaxScaler() | trees_of_halves


def regression(*, step: float = 0.01, l2: float = 0.0) -> Any:
    """Return a linear regression of the outcome as 1.0 or 0.0, on the features as `fast_linear` sees them.

    Use it when the score is a quantity to be added up or averaged over events (how many of these purchase?), since it
    is judged by squared error. Not when a probability is wanted: a score may lie below 0 or above 1.

    An error beyond 1 counts as 1: without that, thirty events in a row with all numbers far out (a bot) drive the
    weights to billions, each step correcting the one before by more.

    Cost: that of `fast_linear`. Size: its state, and 0.7 times its ONNX.

    Args:
        step: how far each example moves the weights.
        l2: how strongly weights are drawn to zero.

    Raises:
        ModelFileError: a step that is not above 0, or an `l2` below 0.

    >>> learner = regression()
    >>> for i in range(400): learner.learn_one({"adds": float(i % 2), "country": "CH"}, float(i % 2))
    >>> [round(abs(learner.predict_one({"adds": adds, "country": "CH"})), 1) for adds in (0.0, 1.0)]
    [0.0, 1.0]
    """
    _check(step=step, l2=l2)
    return _seen() | linear_model.LinearRegression(optim.SGD(step), l2=l2, intercept_lr=step, clip_gradient=_STEEPEST)


def _seen() -> Any:
    # Without the zeros of all other values, which a sum does without, an event costs what it has and not what was met.
    texts = compose.SelectType(str) | preprocessing.OneHotEncoder(drop_zeros=True)
    return texts + (compose.SelectType(float) | preprocessing.StandardScaler())


def _check(*, l2: float = 0.0, **above_zero: float) -> None:
    for name, value in above_zero.items():
        if not value > 0:
            raise ModelFileError(f"{name}={value!r} must be above 0")
    if not l2 >= 0:
        raise ModelFileError(f"l2={l2!r} must not be below 0")
