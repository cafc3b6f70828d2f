"""Metrics of novelty scores, over the whole split at once. Novel is the positive class."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kd_models.evaluation.protocol import EvaluationProtocol, Holdout

ScoreArray = NDArray[np.float64]
FlagArray = NDArray[np.bool_]


class MetricsError(ValueError):
    """The scores cannot be evaluated: a class is missing, or a score is not a number."""


def auroc(scores: ScoreArray, novel: FlagArray) -> float:
    """Return the area under the ROC curve of scores (N,) against novel (N,), ties counted half.

    Raises:
        MetricsError: no normal or no novel image, or a score that is not finite.
    """
    _check(scores, novel)
    # The rank-sum statistic. scikit-learn has it too, but every trial's first process would
    # wait three seconds for its import; the tests compare the two.
    _, place, count = np.unique(scores, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(count) - (count - 1) / 2)[place]
    novels = int(novel.sum())
    above = ranks[novel].sum() - novels * (novels + 1) / 2
    return float(above / (novels * (len(novel) - novels)))


def roc_curve(scores: ScoreArray, novel: FlagArray) -> tuple[ScoreArray, ScoreArray, ScoreArray]:
    """Return false positive rates, true positive rates and thresholds, each (T,)."""
    from sklearn.metrics import roc_curve as sklearn_roc_curve  # seconds to import

    _check(scores, novel)
    fpr, tpr, thresholds = sklearn_roc_curve(novel, scores)
    return fpr, tpr, thresholds


def youden_threshold(scores: ScoreArray, novel: FlagArray) -> float:
    """Return the threshold that maximises TPR - FPR; a score at or above it is called novel.

    Of several such thresholds the highest is taken. It lies halfway down to the next lower score,
    so that no image is on its edge: the last bits of a score differ between memory layouts.

    Raises:
        MetricsError: as :func:`auroc`.
    """
    fpr, tpr, thresholds = roc_curve(scores, novel)
    # Counted in whole images, since equally good rates need not round to equal numbers.
    novels, normals = int(novel.sum()), int((~novel).sum())
    gain = np.rint(tpr * novels) * normals - np.rint(fpr * normals) * novels
    lowest_flagged = float(thresholds[1:][np.argmax(gain[1:])])
    below = scores[scores < lowest_flagged]
    return (lowest_flagged + float(below.max())) / 2 if len(below) else lowest_flagged


@dataclass(frozen=True)
class Rates:
    """Rates at one threshold.

    Attributes:
        fpr: normal images flagged.
        fnr: novel images missed.
        gmean: sqrt(TPR x TNR).
    """

    fpr: float
    fnr: float
    gmean: float


def rates(scores: ScoreArray, novel: FlagArray, threshold: float) -> Rates:
    """Return the error rates of calling scores at or above ``threshold`` novel."""
    _check(scores, novel)
    flagged = scores >= threshold
    fpr = float(flagged[~novel].mean())
    fnr = float((~flagged)[novel].mean())
    return Rates(fpr=fpr, fnr=fnr, gmean=float(np.sqrt((1 - fnr) * (1 - fpr))))


@dataclass(frozen=True)
class Evaluation:
    """What is reported of one detector.

    The threshold and the rates at it follow the protocol (see protocol.py).

    Attributes:
        auroc: over the whole test split, the quantity that the papers publish.
        val_auroc: over the validation half of the holdout; it serves choosing.
        test_auroc: over the test half of the holdout; it serves reporting.
        threshold: a score at or above it is called novel.
        gmean: as in :class:`Rates`.
        fpr: as in :class:`Rates`.
        fnr: as in :class:`Rates`.
    """

    auroc: float
    val_auroc: float
    test_auroc: float
    threshold: float
    gmean: float
    fpr: float
    fnr: float


def aurocs(scores: ScoreArray, novel: FlagArray, holdout: Holdout) -> dict[str, float]:
    """Return the three AUROCs of :class:`Evaluation` by name."""
    return {
        "auroc": auroc(scores, novel),
        "val_auroc": auroc(scores[holdout.validation], novel[holdout.validation]),
        "test_auroc": auroc(scores[holdout.test], novel[holdout.test]),
    }


def evaluate(
    scores: ScoreArray, novel: FlagArray, holdout: Holdout, protocol: EvaluationProtocol
) -> Evaluation:
    """Evaluate the scores (N,) of a whole test split.

    Raises:
        MetricsError: as :func:`auroc`.
    """
    everything = np.ones_like(novel)
    fitted, rated = (
        (everything, everything) if protocol == "paper" else (holdout.validation, holdout.test)
    )
    threshold = youden_threshold(scores[fitted], novel[fitted])
    found = rates(scores[rated], novel[rated], threshold)
    return Evaluation(
        **aurocs(scores, novel, holdout),
        threshold=threshold,
        gmean=found.gmean,
        fpr=found.fpr,
        fnr=found.fnr,
    )


def _check(scores: ScoreArray, novel: FlagArray) -> None:
    if not np.isfinite(scores).all():
        bad = int((~np.isfinite(scores)).sum())
        raise MetricsError(f"{bad} of {len(scores)} scores are not finite numbers")
    if novel.all() or not novel.any():
        missing = "normal" if novel.all() else "novel"
        raise MetricsError(f"there is no {missing} image among the {len(novel)} scored")
