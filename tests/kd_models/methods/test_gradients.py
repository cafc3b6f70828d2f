"""Histograms of gradients, by example and by what they must not depend on."""

import numpy as np
import torch

from kd_models.methods.gradients import GradientHistograms


def images(count: int = 3, channels: int = 1) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.rand(count, channels, 32, 32, generator=generator) * 2 - 1


def blocks(x: torch.Tensor) -> torch.Tensor:
    """Images, directions (right, left, below, above), rows and columns of blocks."""
    return GradientHistograms(32)(x).unflatten(1, (4, 8, 8))


def test_they_are_means_of_differences_over_overlapping_blocks() -> None:
    x = images()
    padded = np.zeros((3, 4, 40, 40))
    values = x[:, 0].double().numpy()
    across, down = np.zeros((3, 32, 32)), np.zeros((3, 32, 32))
    across[:, :, :-1] = np.diff(values, axis=2)
    down[:, :-1] = np.diff(values, axis=1)
    for place, difference in enumerate((across, -across, down, -down)):
        padded[:, place, 4:36, 4:36] = difference.clip(0)
    windows = np.lib.stride_tricks.sliding_window_view(padded, (12, 12), (2, 3))[:, :, ::4, ::4]
    expected = np.sqrt(windows.mean((4, 5)))
    np.testing.assert_allclose(blocks(x).numpy(), expected, rtol=1e-4, atol=1e-6)


def test_a_step_is_seen_in_its_direction_and_place_alone() -> None:
    x = torch.full((1, 1, 32, 32), -1.0)
    x[..., 16:] = 1.0
    found = blocks(x)[0]
    assert found[0, :, 2:5].min() > 0
    found[0, :, 2:5] = 0
    assert found.abs().max() == 0


def test_brightness_changes_nothing() -> None:
    torch.testing.assert_close(blocks(images() + 0.5), blocks(images()), rtol=1e-3, atol=1e-4)


def test_a_shift_by_a_cell_shifts_them_by_one() -> None:
    x = images()
    # Of the blocks that have the edge of either image in them, nothing is said.
    torch.testing.assert_close(
        blocks(x.roll(4, 3))[..., 2:6], blocks(x)[..., 1:5], rtol=1e-4, atol=1e-6
    )


def test_of_colours_the_one_that_changes_most_counts() -> None:
    faint = images()
    torch.testing.assert_close(
        blocks(torch.cat([0.1 * faint, faint, 0.2 * faint], 1)), blocks(faint)
    )
