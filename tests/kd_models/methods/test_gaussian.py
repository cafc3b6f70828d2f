"""The Gaussian of features, against NumPy and by hand."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from kd_models.methods.base import CannotTrain
from kd_models.methods.gaussian import Gaussian


def rows(images: int, size: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    mixed = torch.randn(size, size, generator=generator)
    return torch.randn(images, size, generator=generator) @ mixed + 3


@given(
    st.integers(2, 40), st.integers(1, 12), st.sampled_from([0.001, 0.1, 1.0]), st.integers(0, 9)
)
def test_it_is_the_mahalanobis_distance_of_the_shrunk_covariance(
    images: int, size: int, shrinkage: float, seed: int
) -> None:
    features = rows(images, size, seed)
    gaussian = Gaussian(size)
    gaussian.fit(features, shrinkage=shrinkage)
    x = features.double().numpy()
    covariance = np.cov(x.T, bias=True).reshape(size, size)
    target = np.eye(size) * np.trace(covariance) / size
    inverse = np.linalg.inv((1 - shrinkage) * covariance + shrinkage * target)
    away = rows(5, size, seed + 1).double().numpy() - x.mean(0)
    expected = np.sqrt(np.einsum("bi,ij,bj->b", away, inverse, away))
    found = gaussian(torch.from_numpy(away + x.mean(0)).float())
    np.testing.assert_allclose(found.numpy(), expected, rtol=2e-3)


def test_along_one_axis_by_hand() -> None:
    gaussian = Gaussian(2)
    # Variances 4 and 1, whose mean is 2.5; half of it is taken: 3.25 and 1.75.
    gaussian.fit(torch.tensor([[2.0, 1.0], [-2.0, 1.0], [2.0, -1.0], [-2.0, -1.0]]), shrinkage=0.5)
    found = gaussian(torch.tensor([[3.25**0.5, 0.0], [0.0, 1.75**0.5], [0.0, 0.0]]))
    assert found.tolist() == pytest.approx([1.0, 1.0, 0.0])


def test_directions_without_variance_do_not_decide_alone() -> None:
    features = rows(50, 3)
    features[:, 2] = 1.0
    gaussian = Gaussian(3)
    gaussian.fit(features, shrinkage=0.01)
    assert torch.isfinite(gaussian(features + 0.1)).all()


def test_what_it_knows_counts_as_parameters_and_is_trained_by_nobody() -> None:
    gaussian = Gaussian(4)
    assert sum(p.numel() for p in gaussian.parameters()) == 4 + 4 + 16
    assert not any(p.requires_grad for p in gaussian.parameters())


def test_features_that_are_all_alike_are_refused() -> None:
    with pytest.raises(CannotTrain, match="alike"):
        Gaussian(3).fit(torch.ones(5, 3), shrinkage=0.1)
