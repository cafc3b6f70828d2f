import pytest
import torch
from torch import nn

from kd_models.evaluation.cost import Complexity, complexity
from kd_models.methods.ganomaly.networks import Generator


@pytest.mark.parametrize(
    ("channels", "widths", "params", "flops"),
    [
        (3, (64, 128, 256), 5_123_712, 56_008_704),
        (1, (64, 128, 256), 5_117_568, 54_435_840),
        (3, (8, 16, 64), 843_408, 2_285_568),
        (1, (2, 4, 8), 100_404, 177_408),
        (1, (1, 2, 4), 49_722, 76_416),
    ],
)
def test_the_golden_numbers_of_the_paper_s_networks(
    channels: int, widths: tuple[int, int, int], params: int, flops: int
) -> None:
    network = Generator(channels, widths)
    assert complexity(network, torch.zeros(1, channels, 32, 32)) == Complexity(params, flops)


def test_flops_are_of_the_whole_example() -> None:
    network = Generator(1, (1, 2, 4))
    assert complexity(network, torch.zeros(2, 1, 32, 32)).flops == 2 * 76_416


@pytest.mark.parametrize("training", [True, False])
def test_the_network_is_left_as_it_was(training: bool) -> None:
    network = Generator(1, (1, 2, 4)).train(training)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    complexity(network, torch.ones(2, 1, 32, 32))
    assert {module.training for module in network.modules()} == {training}
    # Counted in training mode, BatchNorm would have moved its running averages.
    assert all(torch.equal(before[name], t) for name, t in network.state_dict().items())


def test_the_mode_is_given_back_when_counting_fails() -> None:
    network = Generator(1, (1, 2, 4)).train()
    with pytest.raises(RuntimeError, match="channels"):
        complexity(network, torch.zeros(1, 3, 32, 32))
    assert network.training


def test_a_multiply_accumulate_counts_once_and_an_activation_not_at_all() -> None:
    network = nn.Sequential(nn.Conv2d(2, 3, 3, bias=False), nn.ReLU())
    found = complexity(network, torch.zeros(1, 2, 5, 5))
    assert found == Complexity(params=2 * 3 * 9, flops=2 * 3 * 9 * (3 * 3))
