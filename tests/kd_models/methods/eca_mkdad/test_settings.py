"""What the paper sets by dataset."""

import pytest

from kd_models.methods.distilled_settings import PaperSettings, paper_settings
from kd_models.methods.eca_mkdad.settings import paper_lambda


@pytest.mark.parametrize(
    ("dataset", "epochs", "lambda_", "image_size"),
    [
        ("mnist", 100, 0.01, 32),
        ("fmnist", 100, 0.01, 32),
        ("digits", 100, 0.01, 32),
        ("cifar10", 300, 0.01, 32),
        ("svhn", 300, 0.01, 32),
        ("stl10", 300, 0.01, 96),
        ("mvtec", 500, 0.1, 128),
        ("mvtec:/some/path", 500, 0.1, 128),
        ("folder:/mnist", 300, 0.01, 32),  # none of the paper's: as its natural images
    ],
)
def test_what_the_paper_sets_by_dataset(
    dataset: str, epochs: int, lambda_: float, image_size: int
) -> None:
    expected = PaperSettings(epochs=epochs, image_size=image_size)
    assert paper_settings(dataset) == expected
    assert paper_lambda(dataset) == lambda_
