import math
from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from kd_models.methods.eca_mkdad.attention import ATTENTIONS, ECA, SCSE, SE, eca_kernel_size

LN3 = math.log(3)
"""sigmoid(LN3) = 3/4, sigmoid(-LN3) = 1/4"""

every_attention = pytest.mark.parametrize("name", ATTENTIONS)


def maps(count: int, channels: int, side: int = 5) -> Tensor:
    """Random maps without a zero, so that the output can be divided by them."""
    x = torch.randn(count, channels, side, side)
    return torch.where(x.abs() < 0.1, 0.1, x)


@pytest.mark.parametrize(
    ("channels", "expected"), [(1, 1), (8, 3), (16, 3), (64, 3), (128, 5), (256, 5), (512, 5)]
)
def test_the_kernel_of_eca_by_hand(channels: int, expected: int) -> None:
    assert eca_kernel_size(channels) == expected
    assert ECA(channels).conv.kernel_size == (expected,)


@given(st.integers(1, 10_000))
def test_the_kernel_of_eca_is_odd_and_nearest_as_the_authors_compute_it(channels: int) -> None:
    size = eca_kernel_size(channels)
    assert size % 2 == 1
    # Cut to a whole number, (log2(C) + 1) / 2 is half the binary digits of C.
    cut = channels.bit_length() // 2
    assert size == (cut if cut % 2 else cut + 1)
    assert abs(size - (math.log2(channels) + 1) / 2) <= 1


@given(st.integers(1, 10_000), st.sampled_from([1, 2, 4]), st.sampled_from([0, 1, 2, 3]))
def test_the_kernel_of_eca_is_odd_whatever_gamma_and_b(channels: int, gamma: int, b: int) -> None:
    size = eca_kernel_size(channels, gamma, b)
    assert size % 2 == 1
    assert -1 < size - (math.log2(channels) + b) / gamma <= 1 + 1e-9


def test_three_attentions_by_name() -> None:
    assert dict(ATTENTIONS) == {"eca": ECA, "se": SE, "scse": SCSE}


@every_attention
@pytest.mark.parametrize("shape", [(2, 16, 5, 7), (1, 32, 1, 1), (3, 4, 2, 2)])
def test_an_attention_keeps_the_shape(name: str, shape: tuple[int, ...]) -> None:
    assert ATTENTIONS[name](shape[1])(torch.randn(shape)).shape == shape


@every_attention
def test_an_attention_scales_by_weights_between_0_and_1(name: str) -> None:
    x = maps(4, 32)
    weights = ATTENTIONS[name](32)(x) / x
    assert weights.min() > 0
    assert weights.max() < 1
    # Neither one constant: they come from the input.
    assert weights.std() > 1e-3


@pytest.mark.parametrize("name", ["eca", "se"])
def test_channel_attention_has_one_weight_for_each_channel_of_an_image(name: str) -> None:
    x = maps(3, 32)
    weights = (ATTENTIONS[name](32)(x) / x).flatten(2)
    torch.testing.assert_close(weights, weights[:, :, :1].expand_as(weights))
    assert (weights[:, :, 0].std(dim=0) > 0).all()


def test_eca_by_hand() -> None:
    """Of eight channels the mean of the fourth is 1 and those of the others are 0."""
    eca = ECA(8)
    eca.conv.weight.data = torch.tensor([[[LN3, -LN3, 2 * LN3]]])
    x = torch.tensor([1.0, -1.0]).repeat(1, 8, 1, 1)
    x[0, 3] = torch.tensor([[3.0, -1.0]])
    # A kernel's last weight is for the next channel: it acts on the third, its first on the fifth.
    weights = [0.5, 0.5, 9 / 10, 1 / 4, 3 / 4, 0.5, 0.5, 0.5]
    expected = [[w, -w] for w in weights]
    expected[3] = [3 / 4, -1 / 4]
    found = eca(x)[0, :, 0]
    torch.testing.assert_close(found, torch.tensor(expected))


def test_eca_of_three_channels_by_hand() -> None:
    eca = ECA(3)
    eca.conv.weight.data = torch.full((1, 1, 1), LN3)
    x = torch.tensor([[1.0, 1.0], [2.0, -2.0], [-3.0, 1.0]]).view(1, 3, 1, 2)
    expected = [[0.75, 0.75], [1.0, -1.0], [-0.75, 0.25]]
    torch.testing.assert_close(eca(x).view(3, 2), torch.tensor(expected))


def test_the_edge_channels_of_eca_have_a_neighbour_of_zero() -> None:
    eca = ECA(8)
    eca.conv.weight.data = torch.tensor([[[LN3, 0.0, LN3]]])
    x = torch.ones(1, 8, 1, 1)
    expected = [0.75, *[0.9] * 6, 0.75]
    torch.testing.assert_close(eca(x).flatten(), torch.tensor(expected))


def test_se_by_hand() -> None:
    """Two channels squeezed into one: relu(a - b), then excited to LN3 and -LN3 times it."""
    se = SE(2)
    squeeze, _, excite, _ = se.excite
    squeeze.weight.data = torch.tensor([[1.0, -1.0]])
    excite.weight.data = torch.tensor([[LN3], [-LN3]])
    x = torch.tensor([[[3.0, 1.0], [2.0, 0.0]], [[0.0, 2.0], [3.0, 3.0]]]).unsqueeze(2)
    # Means (2, 1) and (1, 3): squeezed to 1 and, below zero, 0.
    expected = [[[2.25, 0.75], [0.5, 0.0]], [[0.0, 1.0], [1.5, 1.5]]]
    torch.testing.assert_close(se(x).squeeze(2), torch.tensor(expected))


def test_scse_is_the_larger_of_its_two_recalibrations() -> None:
    scse, x = SCSE(32), maps(4, 32)
    by_channel = scse.channel(x)
    by_pixel = x * torch.sigmoid((scse.spatial.weight * x).sum(1, keepdim=True))
    found = scse(x)
    torch.testing.assert_close(found, by_channel.maximum(by_pixel))
    # Each wins somewhere.
    assert (found > by_channel + 1e-3).any()
    assert (found > by_pixel + 1e-3).any()


def test_scse_by_hand() -> None:
    scse = SCSE(2)
    for parameter in scse.channel.parameters():
        parameter.data.zero_()  # every channel by 1/2
    scse.spatial.weight.data = torch.tensor([LN3, 0.0]).view(1, 2, 1, 1)
    x = torch.tensor([[[1.0, -1.0]], [[4.0, 4.0]]]).unsqueeze(0)
    # The first channel is 1 and -1, so that pixels weigh 3/4 and 1/4.
    expected = [[0.75, -0.25], [3.0, 2.0]]
    torch.testing.assert_close(scse(x).view(2, 2), torch.tensor(expected))


@pytest.mark.parametrize(
    ("name", "channels", "expected"),
    [
        ("eca", 16, 3),
        ("eca", 512, 5),
        ("se", 16, 16 * 1 * 2),
        ("se", 256, 256 * 16 * 2),
        ("se", 8, 8 * 1 * 2),  # never squeezed to nothing
        ("scse", 16, 16 * 1 * 2 + 16),
        ("scse", 512, 512 * 32 * 2 + 512),
    ],
)
def test_parameters_by_hand(name: str, channels: int, expected: int) -> None:
    assert sum(p.numel() for p in ATTENTIONS[name](channels).parameters()) == expected


@every_attention
def test_gradients_reach_every_parameter_and_the_input(name: str) -> None:
    attention, x = ATTENTIONS[name](32), maps(4, 32).requires_grad_()
    attention(x).square().sum().backward()
    gradients = [p.grad for p in attention.parameters()]
    assert all(g is not None and g.abs().max() > 0 for g in [*gradients, x.grad])


@every_attention
@pytest.mark.parametrize("mode", [nn.Module.train, nn.Module.eval])
def test_an_image_is_unaffected_by_the_others_of_its_batch(
    name: str, mode: Callable[[nn.Module], nn.Module]
) -> None:
    attention, x = ATTENTIONS[name](16), maps(4, 16)
    mode(attention)
    together = attention(x)
    torch.testing.assert_close(attention(x[2:3]), together[2:3])
    x[[0, 1, 3]] *= 100
    torch.testing.assert_close(attention(x)[2], together[2])


@every_attention
def test_the_input_is_left_as_it_was(name: str) -> None:
    x = maps(2, 16)
    before = x.clone()
    ATTENTIONS[name](16)(x)
    assert torch.equal(x, before)
