"""Localisation of the novelty in an image: heat maps, and how well they find what masks show.

Shapes: N images, C channels, S pixels a side.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from kd_models.evaluation.metrics import auroc
from kd_models.evaluation.scoring import Scorer, batch_of
from kd_models.world import World
from kd_score.names import printable

SIGMA, OPENING = 4.0, 3
"""the Gaussian's deviation, the opening's width: pixels at 128 x 128, scaled with the image"""

_OF_SIZE = 128
MAX_FPR = 0.3
"""PRO is averaged up to this share of normal pixels flagged, as MVTec's authors do"""


@dataclass(frozen=True)
class Shown:
    """One image that is worth a look."""

    caption: str
    """why it was chosen, and its name where it has one"""
    novel: bool
    score: float
    image: NDArray[np.float32]
    """(C, S, S) in [-1, 1]"""
    heat: NDArray[np.float32]
    """(S, S), at least 0"""
    mask: NDArray[np.bool_] | None
    """(S, S), where there is one"""
    layers: Mapping[int, NDArray[np.float32]]
    """by distillation layer, (3, H, W): the student's map, the teacher's, and their difference"""


@dataclass(frozen=True)
class Localisation:
    """Heat maps of a few images, and how well all that have masks are localised."""

    shown: tuple[Shown, ...]
    metrics: Mapping[str, float]
    """``pixel_auroc`` and ``pro``, in process 0 if there are masks of novel pixels"""


def localise(
    scorer: Scorer,
    images: Tensor,
    scores: NDArray[np.float64],
    novel: NDArray[np.bool_],
    *,
    masks: Tensor | None = None,
    masked: Tensor | None = None,
    names: Sequence[str] | None = None,
    world: World,
) -> Localisation:
    """Localise the novelty in test images (N, C, S, S) of the given scores (N,).

    Every process of ``world`` must call this; each computes a part.

    Args:
        scorer: in evaluation mode.
        images: the test images.
        scores: their novelty scores.
        novel: which of them are novel, (N,).
        masks: bool (N, S, S), true where pixels are novel.
        masked: bool (N,), true where the mask is known.
        names: of the images, if they have any.
        world: the processes that share the work.
    """
    chosen = worth_a_look(scores, novel)
    known = [] if masked is None else torch.nonzero(masked.cpu()).flatten().tolist()
    rows = sorted({*known, *chosen.values()})
    place = {row: index for index, row in enumerate(rows)}
    maps = world.map_rows(lambda part: heat_maps(scorer, part), images[rows]).cpu().numpy()
    metrics: dict[str, float] = {}
    if masks is not None and known and world.rank == 0:
        metrics = localisation_metrics(maps[[place[row] for row in known]], masks[known])
    shown = []
    for caption, row in chosen.items():
        with torch.no_grad():
            layers = scorer.maps(images[row : row + 1])
        shown.append(
            Shown(
                caption=f"{caption}: {printable(names[row])}" if names else caption,
                novel=bool(novel[row]),
                score=float(scores[row]),
                image=images[row].cpu().numpy(),
                heat=maps[place[row]],
                mask=masks[row].cpu().numpy() if masks is not None and row in known else None,
                layers={layer: torch.cat(parts).cpu().numpy() for layer, parts in layers.items()},
            )
        )
    return Localisation(tuple(shown), metrics)


def worth_a_look(scores: NDArray[np.float64], novel: NDArray[np.bool_]) -> dict[str, int]:
    """Choose rows of scores (N,) by caption: each kind's highest, and two in its middle, if any."""
    chosen: dict[str, int] = {}
    for kind, flag in (("novel", True), ("normal", False)):
        rows = np.flatnonzero(novel == flag)
        rows = rows[np.argsort(-scores[rows], kind="stable")]
        for caption, part in (("highest", 0.0), ("typical", 0.5), ("another typical", 0.6)):
            row = int(rows[min(int(part * len(rows)), len(rows) - 1)])
            if row not in chosen.values():
                chosen[f"{caption} {kind}"] = row
    return chosen


def heat_maps(scorer: Scorer, images: Tensor) -> Tensor:
    """Return where each image (N, C, S, S) is novel: float32 (N, S, S), at least 0, not scaled.

    A heat map is the gradient of the score by the pixels, |d score / d x| summed over channels
    (Zhou and Xing 2023, Eq. 4), smoothed by a Gaussian and opened (eroded, then dilated: Eq. 5),
    which removes what is smaller than the opening.

    The scorer is expected in evaluation mode; an image's map does not depend on other images.
    """
    maps = [_smoothed(_attribution(scorer, part)) for part in images.split(batch_of(images))]
    return torch.cat(maps) if maps else images.new_zeros((0, *images.shape[-2:]))


def _attribution(scorer: Scorer, images: Tensor) -> Tensor:
    x = images.detach().clone().requires_grad_()
    with torch.enable_grad():
        # Each score depends on its own image alone, so the sum's gradient is each score's own.
        (gradient,) = torch.autograd.grad(scorer(x).sum(), x)
    return gradient.abs().sum(1)


def _smoothed(maps: Tensor) -> Tensor:
    from scipy import ndimage  # a second to import, and only localisation needs it

    scale = maps.shape[-1] / _OF_SIZE
    width = max(1, round(OPENING * scale))
    smooth = ndimage.gaussian_filter(
        maps.cpu().numpy(), sigma=SIGMA * scale, axes=(1, 2), mode="nearest"
    )
    return torch.from_numpy(ndimage.grey_opening(smooth, size=(1, width, width))).to(maps.device)


def localisation_metrics(found: NDArray[np.floating], masks: Tensor) -> dict[str, float]:
    """Return ``pixel_auroc`` and ``pro`` of heat maps (N, S, S) against masks (N, S, S).

    The result is empty if the masks mark no pixel, or all.
    """
    true = masks.cpu().numpy()
    if not true.any() or true.all():
        return {}
    return {"pixel_auroc": pixel_auroc(found, true), "pro": per_region_overlap(found, true)}


def pixel_auroc(maps: NDArray[np.floating], masks: NDArray[np.bool_]) -> float:
    """Return the AUROC over all pixels of maps (N, S, S) against masks of what is novel."""
    return auroc(maps.ravel().astype(np.float64), masks.ravel())


def per_region_overlap(
    maps: NDArray[np.floating], masks: NDArray[np.bool_], max_fpr: float = MAX_FPR
) -> float:
    """Return PRO (Bergmann et al. 2020): how much of each novel region is found, on average.

    PRO is the mean over regions (8-connected parts of the masks, small and large alike) of the
    part of the region at or above a threshold, averaged over the thresholds that flag from none to
    ``max_fpr`` of the normal pixels.

    Args:
        maps: the heat maps (N, S, S).
        masks: true where pixels are novel, (N, S, S).
        max_fpr: the largest share of normal pixels flagged.

    Raises:
        ValueError: there is no novel pixel, or no normal one.
    """
    from scipy import ndimage

    weight = np.zeros(masks.shape)
    regions = 0
    for image, mask in enumerate(masks):
        labelled, count = ndimage.label(mask, structure=np.ones((3, 3)))
        if count:
            sizes = np.bincount(labelled.ravel())
            sizes[0] = 1
            weight[image] = mask / sizes[labelled]
            regions += count
    normal = ~masks.ravel()
    if regions == 0 or not normal.any():
        raise ValueError("PRO needs at least one novel and one normal pixel")
    values = maps.ravel()
    order = np.argsort(-values, kind="stable")
    ends = np.append(np.flatnonzero(np.diff(values[order])), len(values) - 1)
    fpr = np.append(0.0, np.cumsum(normal[order])[ends] / normal.sum())
    overlap = np.append(0.0, np.cumsum(weight.ravel()[order])[ends] / regions)
    # Where the curve rises at the limit itself, that rise is outside: the last point before it
    # and the first point at or beyond it are joined.
    inside = fpr < max_fpr
    beyond = int(inside.sum())
    at_limit = np.interp(max_fpr, fpr[: beyond + 1], overlap[: beyond + 1])
    area = np.trapezoid(np.append(overlap[inside], at_limit), np.append(fpr[inside], max_fpr))
    return float(area / max_fpr)
