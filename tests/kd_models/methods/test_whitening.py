"""Whitening of features, whole and in part."""

import pytest
import torch

from kd_models.methods.base import CannotTrain
from kd_models.methods.whitening import Whitening


def rows(images: int = 500) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    mixed = torch.randn(4, 4, generator=generator)
    return torch.randn(images, 4, generator=generator) @ mixed + 2


def fitted(**settings: object) -> torch.Tensor:
    """The covariance of rows after they were whitened."""
    whitening = Whitening(4)
    whitening.fit(rows(), shrinkage=1e-6, **settings)  # type: ignore[arg-type]
    return whitening(rows()).double().T.cov(correction=0)


def test_whole_it_makes_every_direction_alike() -> None:
    torch.testing.assert_close(fitted(), torch.eye(4).double(), rtol=0, atol=1e-3)


def test_none_of_it_turns_and_leaves_lengths() -> None:
    scale = rows().double().std(0, correction=0).mean()
    found = torch.linalg.eigvalsh(fitted(strength=0.0) * scale**2)
    torch.testing.assert_close(found, torch.linalg.eigvalsh(rows().double().T.cov(correction=0)))


def test_half_of_it_leaves_the_root_of_variances() -> None:
    none, half = (torch.linalg.eigvalsh(fitted(strength=s)) for s in (0.0, 0.5))
    torch.testing.assert_close(half, none.sqrt(), rtol=1e-3, atol=1e-3)


def test_groups_count_alike_whatever_their_scale() -> None:
    whitening, other = Whitening(4), Whitening(4)
    scaled = rows() * torch.tensor([1.0, 1.0, 100.0, 100.0])
    whitening.fit(rows(), shrinkage=0.01, strength=0.5, blocks=(2, 2))
    other.fit(scaled, shrinkage=0.01, strength=0.5, blocks=(2, 2))
    found, expected = (torch.cdist(each, each) for each in (other(scaled), whitening(rows())))
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-2)


def test_a_group_that_is_always_the_same_is_refused() -> None:
    constant = rows()
    constant[:, 2:] = 1.0
    with pytest.raises(CannotTrain, match="alike"):
        Whitening(4).fit(constant, shrinkage=0.01, blocks=(2, 2))
