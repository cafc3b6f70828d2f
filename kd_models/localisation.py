"""Where in an image the novelty is: heat maps, and how well they find what masks show.

Shapes: N images, C channels, S pixels a side.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor

from kd_models.metrics import auroc
from kd_models.scoring import Scorer, batch_of

SIGMA, OPENING = 4.0, 5
"""pixels at 128 x 128, scaled with the image: the Gaussian's deviation, the opening's width"""

_OF_SIZE = 128
MAX_FPR = 0.3
"""PRO is averaged up to this part of normal pixels flagged, as MVTec's authors do"""


def heat_maps(scorer: Scorer, images: Tensor) -> Tensor:
    """Return where each image (N, C, S, S) is novel: float32 (N, S, S), at least 0, not scaled.

    The gradient of the score by the pixels, |d score / d x| summed over channels (ECA_MKDAD,
    Eq. 4), smoothed by a Gaussian and opened (eroded, then dilated: Eq. 5), which removes what is
    smaller than the opening.

    The scorer is expected in evaluation mode; an image's map does not depend on the others.
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
    scale = maps.shape[-1] / _OF_SIZE
    width = max(1, round(OPENING * scale))
    smooth = ndimage.gaussian_filter(
        maps.cpu().numpy(), sigma=SIGMA * scale, axes=(1, 2), mode="nearest"
    )
    return torch.from_numpy(ndimage.grey_opening(smooth, size=(1, width, width))).to(maps.device)


def pixel_auroc(maps: NDArray[np.floating], masks: NDArray[np.bool_]) -> float:
    """Return the AUROC over all pixels of maps (N, S, S) against masks of what is novel."""
    return auroc(maps.ravel().astype(np.float64), masks.ravel())


def per_region_overlap(
    maps: NDArray[np.floating], masks: NDArray[np.bool_], max_fpr: float = MAX_FPR
) -> float:
    """Return PRO (Bergmann et al. 2020): how much of each novel region is found, on average.

    The mean over regions (8-connected parts of the masks, small and large alike) of the part
    of the region at or above a threshold, averaged over thresholds from none to ``max_fpr`` of
    the normal pixels flagged.

    Args:
        maps: (N, S, S); masks: (N, S, S).

    Raises:
        ValueError: no novel pixel, or no normal one.
    """
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
    at_limit = np.interp(max_fpr, fpr, overlap)
    inside = fpr < max_fpr
    return float(
        np.trapezoid(np.append(overlap[inside], at_limit), np.append(fpr[inside], max_fpr))
        / max_fpr
    )
