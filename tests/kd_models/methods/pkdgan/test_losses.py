import pytest
import torch

from kd_models.methods.ganomaly.losses import Distance
from kd_models.methods.ganomaly.networks import Reconstruction
from kd_models.methods.pkdgan.losses import distillation_terms


def reconstruction(z1: float, x_hat: float, z2: float) -> Reconstruction:
    """Latents of size 4 and 2 x 2 images, each of one value, for a batch of two."""
    return Reconstruction(
        torch.full((2, 4), z1), torch.full((2, 1, 2, 2), x_hat), torch.full((2, 4), z2)
    )


@pytest.mark.parametrize(("kind", "k1", "k2"), [("mse", 4.0, 9.0), ("l2", 4.0, 6.0)])
def test_the_distillation_terms_by_hand(kind: Distance, k1: float, k2: float) -> None:
    student, teacher = reconstruction(0.0, 0.5, 1.0), reconstruction(2.0, 0.25, 4.0)
    terms = distillation_terms(student, teacher, kind)
    assert {name: term.item() for name, term in terms.items()} == pytest.approx(
        {"k1": k1, "kx": 0.25, "k2": k2}
    )
