from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray
from torch import Tensor, nn

from kd_models.evaluation import localisation as module
from kd_models.evaluation.localisation import (
    heat_maps,
    localisation_metrics,
    localise,
    per_region_overlap,
    pixel_auroc,
    worth_a_look,
)
from kd_models.evaluation.metrics import MetricsError
from kd_models.evaluation.scoring import Scorer
from kd_models.world import World

Maps = NDArray[np.float64]
Masks = NDArray[np.bool_]


def row(*values: float) -> Maps:
    """One image of one row."""
    return np.array([[values]], dtype=np.float64)


def marks(*lines: str) -> Masks:
    """Images of one row: ``#`` is novel."""
    return np.array([[[character == "#" for character in line]] for line in lines])


# Pixels -------------------------------------------------------------------------------------


def test_the_pixel_auroc_by_hand() -> None:
    # Of 2 x 3 pairs of a novel and a normal pixel: 5 beats all, 2 beats one and ties one.
    assert pixel_auroc(row(5, 2, 1, 2, 3), marks("##...")) == pytest.approx((3 + 1.5) / 6)


def test_the_pixel_auroc_is_over_all_images_at_once() -> None:
    maps, masks = np.concatenate([row(9, 8), row(2, 1)]), marks("#.", "#.")
    # Perfect in each, but the first image's normal pixel lies above the second's novel one.
    assert pixel_auroc(maps, masks) == pytest.approx(3 / 4)


@pytest.mark.parametrize(("mask", "missing"), [("..", "novel"), ("##", "normal")])
def test_the_pixel_auroc_needs_both_kinds(mask: str, missing: str) -> None:
    with pytest.raises(MetricsError, match=f"no {missing}"):
        pixel_auroc(row(1, 2), marks(mask))


# Regions ------------------------------------------------------------------------------------


def test_a_perfect_map_finds_every_region() -> None:
    masks = np.random.default_rng(0).random((3, 8, 8)) < 0.3
    assert per_region_overlap(masks.astype(float), masks) == pytest.approx(1.0)


def test_a_map_that_is_wrong_everywhere_finds_none() -> None:
    masks = np.random.default_rng(0).random((3, 8, 8)) < 0.3
    assert per_region_overlap(-masks.astype(float), masks) == pytest.approx(0.0)


def test_of_two_regions_the_small_one_weighs_as_much_as_the_large() -> None:
    mask = marks("#.####....")
    small, large = row(9, *[1] * 9), row(1, 1, 9, 9, 9, 9, 1, 1, 1, 1)
    # From one half to 1 as the rest is flagged at once: 0.5 + 0.3 / 2 at the limit.
    expected = (0.5 + 0.65) / 2
    assert per_region_overlap(small, mask) == pytest.approx(expected)
    assert per_region_overlap(large, mask) == pytest.approx(expected)


def test_regions_of_all_images_weigh_the_same() -> None:
    masks = marks("#.#.......", "########..", "..........")
    maps = np.zeros(masks.shape)
    maps[0, 0, [0, 2]] = 9
    maps[1, 0, 8] = -1  # so that the rest is not flagged at once
    found = per_region_overlap(maps, masks)
    # Two of three are found first; the third comes with 19 of 20 normal pixels.
    assert found == pytest.approx((2 / 3 + (2 / 3 + 1 / 3 * 0.3 / 0.95)) / 2)


def test_pixels_that_touch_at_a_corner_are_one_region() -> None:
    mask = np.zeros((1, 4, 5), dtype=bool)
    mask[0, [0, 1, 3], [0, 1, 4]] = True
    maps = np.arange(20.0).reshape(1, 4, 5) * -1e-3
    maps[0, 0, 0] = 2
    # One of a region of two, and none of one: 1/4 on average, until normal pixels come.
    maps[0, 1, 1] = maps[0, 3, 4] = -1
    assert per_region_overlap(maps, mask) == pytest.approx(1 / 4)


def test_a_constant_map_is_at_chance() -> None:
    # Nothing or everything is flagged; the straight line in between ends at (0.3, 0.3).
    assert per_region_overlap(row(*[7] * 10), marks("##........")) == pytest.approx(0.15)


def test_ties_are_flagged_together() -> None:
    maps, mask = row(9, 8, 9, *[1] * 9), marks("##..........")
    # (0, 0), (1/10, 1/2) in one step, (1/10, 1), then flat.
    assert per_region_overlap(maps, mask) == pytest.approx((0.1 * 0.25 + 0.2) / 0.3)


def test_one_threshold_by_hand() -> None:
    # The region comes with two of four normal pixels: a line from (0, 0) to (1/2, 1).
    maps, mask = row(9, 9, 9, 9, 1, 1), marks("##....")
    assert per_region_overlap(maps, mask) == pytest.approx(0.6 / 2)


def test_the_curve_by_hand() -> None:
    maps, mask = row(5, 3, 4, 2, 1, 0), marks("##....")
    # (0, 1/2), (1/4, 1/2), (1/4, 1), flat to the limit.
    assert per_region_overlap(maps, mask) == pytest.approx((0.25 * 0.5 + 0.05) / 0.3)


@pytest.mark.parametrize(("max_fpr", "expected"), [(0.2, 0.5), (0.5, 0.75), (1.0, 0.875)])
def test_the_limit_is_a_setting(max_fpr: float, expected: float) -> None:
    maps, mask = row(5, 3, 4, 2, 1, 0), marks("##....")
    assert per_region_overlap(maps, mask, max_fpr) == pytest.approx(expected)


def test_what_is_found_from_the_limit_on_does_not_count() -> None:
    """The region comes first when 3 of 10 normal pixels are flagged already: at 0.3 exactly."""
    maps, mask = row(9, 8, 7, 6, *[1] * 7), marks("...#.......")
    assert per_region_overlap(maps, mask) == pytest.approx(0.0)


@pytest.mark.parametrize("mask", ["..", "##"])
def test_pro_needs_both_kinds(mask: str) -> None:
    with pytest.raises(ValueError, match="one novel and one normal"):
        per_region_overlap(row(1, 2), marks(mask))


@given(
    hnp.arrays(np.int64, (2, 4, 4), elements=st.integers(0, 5)),
    hnp.arrays(np.bool_, (2, 4, 4)).filter(lambda m: m.any() and not m.all()),
    st.lists(st.integers(-50, 50), min_size=6, max_size=6, unique=True).map(sorted),
)
def test_only_the_order_of_pixels_counts(
    values: NDArray[np.int64], masks: Masks, increasing: list[int]
) -> None:
    maps, other = values.astype(float), np.array(increasing, dtype=float)[values]
    assert pixel_auroc(other, masks) == pixel_auroc(maps, masks)
    assert per_region_overlap(other, masks) == per_region_overlap(maps, masks)
    assert 0 <= per_region_overlap(maps, masks) <= 1 + 1e-9


def test_metrics_are_of_all_images_at_once() -> None:
    maps = np.concatenate([row(1, 5, 2), row(2, 1, 9)])
    masks = torch.from_numpy(marks(".#.", "..#"))
    found = localisation_metrics(maps, masks)
    assert found == {"pixel_auroc": 1.0, "pro": pytest.approx(1.0)}


@pytest.mark.parametrize("rows", [[], [0], [1]])
def test_there_are_no_metrics_where_masks_tell_nothing_apart(rows: list[int]) -> None:
    masks = torch.from_numpy(marks("..", "##"))
    maps = np.concatenate([row(1, 2), row(3, 4)])
    assert localisation_metrics(maps[rows], masks[rows]) == {}


# Heat maps ----------------------------------------------------------------------------------


class Linear(Scorer):
    """sum(w x): its gradient is w, whatever the image."""

    def __init__(self, w_CSS: Tensor) -> None:
        super().__init__(nn.Identity())
        self.w = nn.Parameter(w_CSS)

    def forward(self, x_BCSS: Tensor) -> Tensor:
        return (self.w * x_BCSS).flatten(1).sum(1)


class Energy(Scorer):
    """sum(x x) / 2: its gradient is the image itself."""

    def __init__(self) -> None:
        super().__init__(nn.Identity())
        self.batches: list[int] = []

    def forward(self, x_BCSS: Tensor) -> Tensor:
        self.batches.append(len(x_BCSS))
        return x_BCSS.square().flatten(1).sum(1) / 2

    def maps(self, x_BCSS: Tensor) -> dict[int, tuple[Tensor, Tensor, Tensor]]:
        seen = x_BCSS.mean(1)
        return {3: (seen, 2 * seen, seen.abs())}


def images(count: int, side: int = 32, channels: int = 3) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.rand(count, channels, side, side, generator=generator) * 2 - 1


@pytest.fixture
def unsmoothed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the Gaussian; at 32 x 32 the opening is one pixel wide, and so does nothing."""
    monkeypatch.setattr(module, "SIGMA", 0.0)


@pytest.mark.usefixtures("unsmoothed")
def test_before_smoothing_a_heat_map_is_the_gradient_s_size_summed_over_channels() -> None:
    w = images(1)[0]
    found = heat_maps(Linear(w), images(4))
    torch.testing.assert_close(found, w.abs().sum(0).expand(4, 32, 32))


@pytest.mark.usefixtures("unsmoothed")
def test_every_image_has_its_own_heat_map() -> None:
    x = images(5)
    torch.testing.assert_close(heat_maps(Energy(), x), x.abs().sum(1))


@pytest.mark.parametrize("side", [32, 40, 128])
def test_a_heat_map_is_as_large_as_its_image_and_not_negative(side: int) -> None:
    found = heat_maps(Energy(), images(2, side))
    assert found.shape == (2, side, side)
    assert found.dtype == torch.float32
    assert found.min() >= 0
    assert found.max() > 0
    assert not found.requires_grad


def test_a_heat_map_does_not_depend_on_the_other_images() -> None:
    x = images(4)
    x[1:] *= 50
    together = heat_maps(Energy(), x)
    torch.testing.assert_close(heat_maps(Energy(), x[:1]), together[:1])
    torch.testing.assert_close(heat_maps(Energy(), x.flip(0)).flip(0), together)


def test_heat_maps_are_made_a_batch_at_a_time() -> None:
    scorer, x = Energy(), images(17, side=128, channels=1)
    whole = heat_maps(scorer, x)
    assert scorer.batches == [16, 1]
    torch.testing.assert_close(whole[16:], heat_maps(scorer, x[16:]))


def test_of_no_images_there_are_no_heat_maps() -> None:
    assert heat_maps(Energy(), images(0)).shape == (0, 32, 32)


@pytest.mark.parametrize("grad", [True, False])
def test_heat_maps_leave_parameters_images_and_gradients_as_they_were(grad: bool) -> None:
    scorer, x = Linear(images(1)[0]), images(2)
    before = x.clone()
    with torch.set_grad_enabled(grad):
        heat_maps(scorer, x)
        assert torch.is_grad_enabled() is grad
    assert scorer.w.grad is None
    assert scorer.w.requires_grad
    assert not x.requires_grad
    assert x.grad is None
    assert torch.equal(x, before)


def spike_and_block(side: int, width: int) -> Tensor:
    """An image (1, 1, S, S) of one bright pixel and a less bright square."""
    x = torch.zeros(1, 1, side, side)
    x[0, 0, 20, 20] = 1.0
    x[0, 0, 60 : 60 + width, 70 : 70 + width] = 0.5
    return x


@pytest.mark.usefixtures("unsmoothed")
@pytest.mark.parametrize(("side", "width"), [(128, 3), (96, 2), (256, 6)])
def test_the_opening_removes_a_spike_and_keeps_a_block(side: int, width: int) -> None:
    """Three pixels at 128 x 128, scaled with the image, and an even number of them too."""
    x = spike_and_block(side, width)
    expected = x[:, 0].clone()
    expected[0, 20, 20] = 0
    assert torch.equal(heat_maps(Energy(), x), expected)
    smaller = spike_and_block(side, width - 1)
    assert not heat_maps(Energy(), smaller).any()


@pytest.mark.parametrize(("side", "sigma"), [(128, 4.0), (64, 2.0)])
def test_the_gaussian_is_scaled_with_the_image(
    side: int, sigma: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "OPENING", 1)
    x, middle = torch.zeros(1, 1, side, side), side // 2
    x[0, 0, middle, middle] = 1.0
    found = heat_maps(Energy(), x)[0]
    line = torch.exp(-((torch.arange(side) - middle) ** 2) / (2 * sigma**2))
    expected = torch.outer(line, line) / line.sum() ** 2
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=5e-6)  # cut off at four sigma


def test_at_the_edge_an_image_goes_on_as_it_ends() -> None:
    """A constant gradient stays constant: no border is found novel, or less so."""
    found = heat_maps(Linear(torch.full((3, 128, 128), -0.5)), images(1, 128))
    torch.testing.assert_close(found, torch.full((1, 128, 128), 1.5))


# What is shown ------------------------------------------------------------------------------


def flags(text: str) -> NDArray[np.bool_]:
    return np.array([character == "+" for character in text])


def test_of_each_kind_the_highest_and_two_from_the_middle_are_worth_a_look() -> None:
    scores = np.array([1, 9, 2, 8, 3, 7, 4, 6, 5, 0], dtype=float)
    novel = flags("-+-+-+-+-+")
    # Novel by score: rows 1, 3, 5, 7, 9; normal: 8, 6, 4, 2, 0.
    assert worth_a_look(scores, novel) == {
        "highest novel": 1,
        "typical novel": 5,
        "another typical novel": 7,
        "highest normal": 8,
        "typical normal": 4,
        "another typical normal": 2,
    }


@pytest.mark.parametrize(
    ("novel", "expected"),
    [
        ("+-", {"highest novel": 0, "highest normal": 1}),
        ("++-", {"highest novel": 1, "typical novel": 0, "highest normal": 2}),
        # By score: rows 4, 3, 2, 0; the middle is the third, and so is six tenths.
        ("-+---", {"highest novel": 1, "highest normal": 4, "typical normal": 2}),
    ],
)
def test_few_images_of_a_kind_are_shown_once_each(novel: str, expected: dict[str, int]) -> None:
    scores = np.arange(float(len(novel)))
    assert worth_a_look(scores, flags(novel)) == expected


def test_of_equal_scores_the_first_is_shown() -> None:
    assert worth_a_look(np.zeros(4), flags("-+-+"))["highest novel"] == 1


@pytest.fixture
def scene() -> tuple[Tensor, NDArray[np.float64], NDArray[np.bool_], Tensor]:
    """Six images, the last three novel where they are bright; scores; kinds; masks."""
    x = 0.01 * images(6)
    masks = torch.zeros(6, 32, 32, dtype=torch.bool)
    for image in (3, 4, 5):
        masks[image, 8:16, 4 * image : 4 * image + 8] = True
    x[masks[:, None].expand_as(x)] = 1.0
    return x, np.arange(6.0), flags("---+++"), masks


Scene = tuple[Tensor, NDArray[np.float64], NDArray[np.bool_], Tensor]


def test_what_is_shown_belongs_together(scene: Scene) -> None:
    x, scores, novel, masks = scene
    masked = torch.tensor([True, True, True, True, True, False])
    found = localise(
        Energy(), x, scores, novel, masks=masks, masked=masked,
        names=[f"{i}.png" for i in range(6)], world=World(),
    )  # fmt: skip
    rows = {
        "highest novel: 5.png": 5,
        "typical novel: 4.png": 4,
        "highest normal: 2.png": 2,
        "typical normal: 1.png": 1,
    }
    assert [shown.caption for shown in found.shown] == list(rows)
    heat = heat_maps(Energy(), x)
    for shown, image in zip(found.shown, rows.values(), strict=True):
        assert (shown.novel, shown.score) == (novel[image], scores[image])
        np.testing.assert_array_equal(shown.image, x[image].numpy())
        np.testing.assert_allclose(shown.heat, heat[image].numpy(), rtol=1e-6)
        assert list(shown.layers) == [3]
        seen = x[image].mean(0).numpy()
        expected = np.stack([seen, 2 * seen, np.abs(seen)])
        np.testing.assert_allclose(shown.layers[3], expected, rtol=1e-6)
        if image == 5:
            assert shown.mask is None
        else:
            assert shown.mask is not None
            np.testing.assert_array_equal(shown.mask, masks[image].numpy())


def test_what_is_novel_is_found(scene: Scene) -> None:
    x, scores, novel, masks = scene
    masked = torch.ones(6, dtype=torch.bool)
    metrics = localise(
        Energy(), x, scores, novel, masks=masks, masked=masked, world=World()
    ).metrics
    assert set(metrics) == {"pixel_auroc", "pro"}
    assert 0.99 < metrics["pixel_auroc"] <= 1
    assert 0.9 < metrics["pro"] <= 1


def test_an_image_without_a_known_mask_counts_for_nothing(scene: Scene) -> None:
    x, scores, novel, masks = scene
    masked = torch.tensor([True, True, True, True, True, False])

    def metrics() -> dict[str, float]:
        return localise(
            Energy(), x, scores, novel, masks=masks, masked=masked, world=World()
        ).metrics

    before = metrics()
    x[5], masks[5] = 1 - x[5], ~masks[5]
    assert metrics() == before
    assert before == localisation_metrics(heat_maps(Energy(), x[:5]).numpy(), masks[:5])


@pytest.mark.parametrize("given_masks", ["none", "all empty", "no known", "known empty"])
def test_there_are_metrics_only_where_masks_mark_something(given_masks: str, scene: Scene) -> None:
    x, scores, novel, masks = scene
    masked = torch.ones(6, dtype=torch.bool)
    changes: dict[str, Callable[[], tuple[Tensor | None, Tensor | None]]] = {
        "none": lambda: (None, None),
        "all empty": lambda: (torch.zeros_like(masks), masked),
        "no known": lambda: (masks, ~masked),
        "known empty": lambda: (masks, torch.arange(6) < 3),
    }
    now, known = changes[given_masks]()
    found = localise(Energy(), x, scores, novel, masks=now, masked=known, world=World())
    assert found.metrics == {}
    assert len(found.shown) == 4
    assert [shown.caption for shown in found.shown][:2] == ["highest novel", "typical novel"]
    if given_masks in ("none", "no known"):
        assert all(shown.mask is None for shown in found.shown)


def test_heat_maps_are_made_of_what_is_judged_or_shown_alone(scene: Scene) -> None:
    x, scores, novel, masks = scene
    scorer = Energy()
    localise(scorer, x, scores, novel, world=World())
    assert sum(scorer.batches) == 4
    scorer = Energy()
    localise(scorer, x, scores, novel, masks=masks, masked=torch.arange(6) == 0, world=World())
    assert sum(scorer.batches) == 5
