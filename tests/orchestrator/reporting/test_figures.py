"""What pictures show, where a number says it."""

import io

import numpy as np
import pytest
from matplotlib.figure import Figure
from numpy.typing import NDArray

from kd_models.evaluation.localisation import Shown
from orchestrator.reporting.figures import heat_map_figure, heat_scales, overlay


def heat(*values: float) -> NDArray[np.float32]:
    return np.array([values], dtype=np.float32)


@pytest.mark.parametrize(
    ("hottest", "normal", "ends"),
    [
        ([8.0, 2.0], [False, False], [8.0, 2.0]),
        ([8.0, 2.0], [False, True], [8.0, 4.0]),
        ([8.0, 2.0, 4.0], [False, False, True], [8.0, 8.0, 8.0]),
        ([0.0], [False], [1.0]),
    ],
)
def test_a_heat_map_has_its_own_scale_unless_normal_images_would_glow(
    hottest: list[float], normal: list[bool], ends: list[float]
) -> None:
    assert heat_scales([heat(0, value) for value in hottest], normal) == pytest.approx(ends)


def test_where_there_is_no_heat_the_image_is_left_and_where_it_is_most_it_shines() -> None:
    image = np.zeros((1, 1, 3), dtype=np.float32)  # mid grey
    cold, warm, hot = overlay(image, heat(0, 2, 4), 4.0)[0]
    assert cold == pytest.approx([0.5, 0.5, 0.5])
    assert hot.mean() > warm.mean() > 0.1
    assert hot[2] < hot[0]  # inferno ends in yellow: no blue


def one(caption: str, novel: bool) -> Shown:
    return Shown(
        caption, novel, 1.0, np.zeros((1, 4, 4), np.float32), np.eye(4, dtype=np.float32), None, {}
    )


def drawn(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer)
    return buffer.getvalue()


def test_a_name_with_dollars_is_no_mathematics() -> None:
    figure = heat_map_figure([one("highest novel: a$x^{$.png", True)], 0.5, "b$_{$")
    assert drawn(figure).startswith(b"\x89PNG")
