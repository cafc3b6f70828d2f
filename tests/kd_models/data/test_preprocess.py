import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image
from torch import Tensor

from kd_models.data import DataError, preprocess, to_model_input

# The cores are shared: a slow example is not a wrong one.
PATIENT = settings(deadline=None)


@st.composite
def batches(draw: st.DrawFn) -> Tensor:
    shape = draw(
        st.tuples(
            st.integers(0, 3), st.sampled_from([1, 3]), st.integers(1, 40), st.integers(1, 40)
        )
    )
    return torch.from_numpy(draw(hnp.arrays(np.uint8, shape)))


@PATIENT
@given(batches(), st.integers(1, 40), st.sampled_from([1, 3]))
def test_shape_type_and_range(images: Tensor, size: int, channels: int) -> None:
    result = to_model_input(images, image_size=size, channels=channels)
    assert result.shape == (len(images), channels, size, size)
    assert result.dtype == torch.float32
    assert ((result >= -1) & (result <= 1)).all()


@PATIENT
@given(
    st.integers(0, 255),
    st.integers(1, 70),
    st.integers(1, 70),
    st.sampled_from([1, 3]),
    st.integers(1, 40),
    st.sampled_from([1, 3]),
)
def test_a_plain_image_stays_plain(
    level: int, height: int, width: int, stored: int, size: int, channels: int
) -> None:
    images = torch.full((1, stored, height, width), level, dtype=torch.uint8)
    result = to_model_input(images, image_size=size, channels=channels)
    expected = torch.full((1, channels, size, size), level / 127.5 - 1)
    torch.testing.assert_close(result, expected, atol=1e-5, rtol=0)


@PATIENT
@given(batches(), st.integers(1, 20), st.sampled_from([1, 3]))
def test_a_list_gives_what_a_tensor_gives(images: Tensor, size: int, channels: int) -> None:
    together = to_model_input(images, image_size=size, channels=channels)
    singly = to_model_input(list(images), image_size=size, channels=channels)
    torch.testing.assert_close(singly, together, atol=1e-5, rtol=0)


def test_images_of_the_wanted_size_are_only_scaled() -> None:
    images = torch.tensor([[[[0, 51], [204, 255]]]], dtype=torch.uint8)
    result = to_model_input(images, image_size=2, channels=1)
    torch.testing.assert_close(result, torch.tensor([[[[-1.0, -0.6], [0.6, 1.0]]]]))
    assert (result.min().item(), result.max().item()) == (-1, 1)


def test_grey_is_repeated() -> None:
    images = torch.tensor([[[[0, 255]]]], dtype=torch.uint8)
    result = to_model_input(images, image_size=1, channels=3)
    assert result.flatten().tolist() == pytest.approx([0.0, 0.0, 0.0], abs=1e-6)


@pytest.mark.parametrize(
    ("colour", "grey"), [((255, 0, 0), 0.299), ((0, 255, 0), 0.587), ((0, 0, 255), 0.114)]
)
def test_rgb_becomes_grey_by_luma(colour: tuple[int, int, int], grey: float) -> None:
    images = torch.tensor(colour, dtype=torch.uint8).view(1, 3, 1, 1)
    result = to_model_input(images, image_size=1, channels=1)
    assert result.item() == pytest.approx(2 * grey - 1, abs=1e-6)


@pytest.mark.parametrize(("height", "width"), [(8, 8), (28, 28), (97, 41), (41, 97)])
def test_resizing_is_pillow_s_antialiased_bilinear(height: int, width: int) -> None:
    image = np.random.default_rng(0).integers(0, 256, (height, width), dtype=np.uint8)
    # Mode F: Pillow's own filter without its rounding to whole levels.
    resized = Image.fromarray(image.astype(np.float32)).resize((32, 32), Image.Resampling.BILINEAR)
    expected = torch.from_numpy(np.asarray(resized) / np.float32(127.5) - 1)
    result = to_model_input(torch.from_numpy(image)[None, None], image_size=32, channels=1)
    torch.testing.assert_close(result[0, 0], expected, atol=1e-4, rtol=0)


def test_chunks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    images = torch.from_numpy(
        np.random.default_rng(0).integers(0, 256, (7, 3, 9, 5), dtype=np.uint8)
    )
    whole = to_model_input(images, image_size=6, channels=1)
    monkeypatch.setattr(preprocess, "_CHUNK_VALUES", 2 * 3 * 9 * 5)
    seen: list[int] = []
    convert = preprocess._convert

    def counted(x: Tensor, image_size: int, channels: int) -> Tensor:
        seen.append(len(x))
        return convert(x, image_size, channels)

    monkeypatch.setattr(preprocess, "_convert", counted)
    chunked = to_model_input(images, image_size=6, channels=1)
    assert seen == [2, 2, 2, 1]
    torch.testing.assert_close(chunked, whole, atol=1e-6, rtol=0)


def test_images_of_different_sizes_and_colours() -> None:
    images = [
        torch.full((1, 4, 6), 255, dtype=torch.uint8),
        torch.full((3, 50, 7), 0, dtype=torch.uint8),
    ]
    result = to_model_input(images, image_size=5, channels=3)
    assert result.shape == (2, 3, 5, 5)
    torch.testing.assert_close(result[0], torch.ones(3, 5, 5))
    torch.testing.assert_close(result[1], -torch.ones(3, 5, 5))


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (torch.zeros(1, 1, 2, 2), "images are torch.float32; expected raw uint8"),
        (torch.zeros(1, 2, 2, 2, dtype=torch.uint8), "images have 2 channels; expected 1 .* or 3"),
        (torch.zeros(1, 2, 2, dtype=torch.uint8), r"shape \(1, 2, 2\); expected \(N, C, H, W\)"),
        ([torch.zeros(2, 2, dtype=torch.uint8)], r"shape \(2, 2\); expected \(C, H, W\)"),
    ],
)
def test_other_images_are_refused(images: Tensor, message: str) -> None:
    with pytest.raises(DataError, match=message):
        to_model_input(images, image_size=2, channels=1)


@pytest.mark.parametrize(
    ("size", "channels", "message"), [(2, 4, "channels is 4"), (0, 1, "image_size is 0")]
)
def test_other_targets_are_refused(size: int, channels: int, message: str) -> None:
    with pytest.raises(DataError, match=message):
        to_model_input(
            torch.zeros(1, 1, 2, 2, dtype=torch.uint8), image_size=size, channels=channels
        )


def test_rounding_in_the_filter_does_not_leave_the_range() -> None:
    # Unclamped, these widths give a little more than 255 on white.
    for width in (43, 50, 57, 64, 71):
        images = torch.full((1, 1, 1, width), 255, dtype=torch.uint8)
        assert to_model_input(images, image_size=32, channels=1).max() <= 1
