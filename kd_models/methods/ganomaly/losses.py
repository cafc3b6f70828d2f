"""The losses of GANomaly as pure functions of tensors. Shapes: B images, anything after that."""

from typing import Literal

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from kd_models.methods.errors import mean_squared_error
from kd_models.methods.ganomaly.networks import Reconstruction

Distance = Literal["l2", "mse"]
"""How "|| a - b ||_2" is read: as the norm that it is, or as the authors' code has it, as the mean
squared error (docs/adr/0001)."""


def per_image_distance(a: Tensor, b: Tensor, kind: Distance) -> Tensor:
    """Return the distance of each pair of rows, (B,)."""
    if kind == "mse":
        return mean_squared_error(a, b)
    norm: Tensor = torch.linalg.vector_norm((a - b).flatten(1), dim=1)
    return norm


def distance(a: Tensor, b: Tensor, kind: Distance) -> Tensor:
    """Return the mean over the batch of :func:`per_image_distance`, a scalar."""
    return per_image_distance(a, b, kind).mean()


def gan_terms(
    x: Tensor, made: Reconstruction, f_x: Tensor, f_x_hat: Tensor, kind: Distance
) -> dict[str, Tensor]:
    """Return L_con (Eq. 2, L1), L_enc (Eq. 3) and L_adv (Eq. 1, features f of D), each a scalar."""
    return {
        "con": F.l1_loss(made.x_hat_BCSS, x),
        "enc": distance(made.z1_BZ, made.z2_BZ, kind),
        "adv": distance(f_x, f_x_hat, kind),
    }
