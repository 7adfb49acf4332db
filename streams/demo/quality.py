"""Quality: how good served scores were, beside what somebody who sees no features could have said."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from sklearn.metrics import log_loss, roc_auc_score

Floats = npt.NDArray[np.float64]
Labels = npt.NDArray[np.bool_]


class RunningPrior:
    """The positive rate of the examples closed so far: all that can be said without features.

    One positive and one negative are counted before the first example (Laplace's rule of succession), so that the
    rate is never 0 or 1, where one surprise would cost an infinite log loss.

    >>> prior = RunningPrior()
    >>> [prior.before(y) for y in (True, False, False)]
    [0.5, 0.6666666666666666, 0.5]
    """

    def __init__(self) -> None:
        self._positives = 0
        self._examples = 0

    def before(self, y: bool) -> float:
        """Return the rate before an example whose label is `y`, then count it."""
        rate = (self._positives + 1) / (self._examples + 2)
        self._positives += y
        self._examples += 1
        return rate


def auc(y: Sequence[bool] | Labels, score: Sequence[float] | Floats) -> float | None:
    """Return the area under the ROC curve; None where only one class is there.

    >>> auc([True, False, False], [0.9, 0.1, 0.9])
    0.75
    >>> auc([True, True], [0.9, 0.1])
    """
    labels = np.asarray(y, dtype=bool)
    if labels.all() or not labels.any():
        return None
    return float(roc_auc_score(labels, np.asarray(score)))


def mean_log_loss(y: Sequence[bool] | Labels, p: Sequence[float] | Floats) -> float | None:
    """Return the mean log loss in nats; None without examples.

    >>> round(mean_log_loss([True, False], [0.5, 0.5]), 4)
    0.6931
    """
    labels = np.asarray(y, dtype=bool)
    return float(log_loss(labels, np.asarray(p), labels=[False, True])) if labels.size else None
