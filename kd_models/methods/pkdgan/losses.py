"""What the losses of P-KDGAN add to GANomaly's, as pure functions of tensors. Shapes: B images."""

import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from kd_models.methods.ganomaly.losses import Distance, distance
from kd_models.methods.ganomaly.networks import Reconstruction


def distillation_terms(
    student: Reconstruction, teacher: Reconstruction, kind: Distance
) -> dict[str, Tensor]:
    """Return K_1, K_x (L1) and K_2 of Eq. 6, each a scalar."""
    return {
        "k1": distance(student.z1_BZ, teacher.z1_BZ, kind),
        "kx": F.l1_loss(student.x_hat_BCSS, teacher.x_hat_BCSS),
        "k2": distance(student.z2_BZ, teacher.z2_BZ, kind),
    }
