"""The cross-entropy of a discriminator's logits, by hand."""

import numpy as np
import pytest
import torch

from kd_models.methods.adversarial import cross_entropies


def test_the_cross_entropies_by_hand() -> None:
    logit = torch.tensor([[0.0], [2.0], [-3.0]])
    probability = 1 / (1 + np.exp([0.0, -2.0, 3.0]))
    assert cross_entropies(logit, real=True).tolist() == pytest.approx(-np.log(probability))
    assert cross_entropies(logit, real=False).tolist() == pytest.approx(-np.log(1 - probability))


def test_those_of_a_sure_discriminator_are_finite() -> None:
    assert cross_entropies(torch.tensor([[200.0]]), real=False).item() == pytest.approx(200.0)
    assert cross_entropies(torch.tensor([[-200.0]]), real=True).item() == pytest.approx(200.0)
