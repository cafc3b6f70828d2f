"""What the paper sets by dataset, named recipes, and what steps inherit."""

import pytest

from kd_models.data import dataset_row
from kd_models.methods.pkdgan.settings import PkdganSettings, paper_widths
from kd_models.recipe import Recipe


@pytest.mark.parametrize(
    ("dataset", "widths"),
    [
        ("digits", (2, 4, 8)),
        ("mnist", (2, 4, 8)),
        ("fmnist", (1, 2, 4)),
        ("cifar10", (8, 16, 64)),
        ("svhn", (8, 16, 64)),
        ("stl10", (8, 16, 64)),
        ("mvtec", (8, 16, 64)),
        ("folder:/fmnist", (8, 16, 64)),
    ],
)
def test_students_are_as_wide_as_the_papers(dataset: str, widths: tuple[int, int, int]) -> None:
    assert paper_widths(dataset) == widths


def test_the_papers_recipe_is_under_what_is_set() -> None:
    own = PkdganSettings.model_validate(
        {"recipe": "paper", "structures": ("alone",), "training": {"epochs": 3}}
    )
    assert own.training == Recipe(epochs=3, batch_size=1, lr=0.002, schedule="constant")
    assert (own.normalisation, own.scores) == ("per-image", ("paper",))
    assert own.teacher.training == own.second_step == own.training


def test_the_recommended_recipe_is_the_default() -> None:
    settings = {"structures": ("alone",)}
    default = PkdganSettings.model_validate(settings)
    assert PkdganSettings.model_validate({**settings, "recipe": "recommended"}) == default


@pytest.mark.parametrize("lr", [None, 0.002, 0.01])
def test_the_second_step_has_a_tenth_of_the_rate(lr: float | None) -> None:
    training = {} if lr is None else {"lr": lr}
    own = PkdganSettings.model_validate({"structures": ("p-kdgan-23",), "training": training})
    assert own.second_step == own.training.model_copy(update={"lr": own.training.lr / 10})


def test_settings_as_they_were_resolved_are_resolved_to_themselves() -> None:
    own = PkdganSettings.model_validate({"recipe": "paper", "structures": ("alone",)})
    assert PkdganSettings.model_validate(own.model_dump()) == own


def test_an_unknown_recipe_is_answered_with_those_there_are() -> None:
    with pytest.raises(ValueError, match="Input should be 'recommended' or 'paper'"):
        PkdganSettings.model_validate({"recipe": "papr", "structures": ("alone",)})


def test_the_second_step_has_a_recipe_of_its_own() -> None:
    own = PkdganSettings.model_validate(
        {
            "structures": ("p-kdgan-23", "kdgan-3"),
            "scores": ("paper",),
            "training": {"epochs": 7},
            "second_step": {"lr": 0.0005},
            "teacher": {"training": {"epochs": 5}},
        }
    )
    progressive, alone = (
        {step.name: recipe for step, recipe in variant.steps}
        for variant in own.variants(dataset_row("digits"), None, None)
    )
    first, second = Recipe(epochs=7), Recipe(epochs=7, lr=0.0005)
    assert progressive == {"teacher": Recipe(epochs=5), "kdgan-2": first, "kdgan-3": second}
    assert alone == {"teacher": Recipe(epochs=5), "kdgan-3": first}


def test_one_teacher_may_serve_the_students_of_all_seeds() -> None:
    for seed, found in ((None, (0, 7)), (3, (3, 3))):
        own = PkdganSettings.model_validate(
            {"structures": ("kdgan-1",), "scores": ("paper",), "teacher": {"seed": seed}}
        )
        ((teacher, _), (student, _)) = next(own.variants(dataset_row("digits"), None, None)).steps
        assert (teacher.seed_of(0), teacher.seed_of(7)) == found
        assert student.seed_of(7) == 7
