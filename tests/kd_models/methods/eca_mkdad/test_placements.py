import pytest
from pydantic import ValidationError
from torch import nn

from kd_models.methods.eca_mkdad.attention import ECA, SCSE, SE
from kd_models.methods.eca_mkdad.networks import student_network
from kd_models.methods.eca_mkdad.placements import PLACEMENTS, placement
from kd_models.methods.eca_mkdad.scores import StudentConfig

NAMES = ["mkdad", "eca", "eca-all", "eca-null", "se", "scse"]
LETTERS: dict[type[nn.Module], str] = {
    nn.Conv2d: "C",
    nn.BatchNorm2d: "B",
    nn.ReLU: "R",
    nn.MaxPool2d: "M",
    ECA: "A",
    SE: "A",
    SCSE: "A",
}

# By placement: what comes within a block, and at its end.
PLANS = {
    "mkdad": ("CBR", "CBRM"),
    "eca": ("CBA", "CBRM"),
    "eca-all": ("CBA", "CBAM"),
    "eca-null": ("CBRA", "CBRM"),
    "se": ("CBA", "CBRM"),
    "scse": ("CBA", "CBRM"),
}


def plan(name: str) -> str:
    """The student's layers in order, a letter each."""
    features = student_network(PLACEMENTS[name], "lightweight").features
    return "".join(LETTERS[type(layer)] for layer in features)


def test_the_placements_by_name() -> None:
    assert list(PLACEMENTS) == NAMES
    assert [placement(name) for name in NAMES] == list(PLACEMENTS.values())
    assert [p.name for p in PLACEMENTS.values()] == NAMES


@pytest.mark.parametrize(
    ("name", "relus", "attentions"),
    [
        ("mkdad", 13, 0),
        ("eca", 5, 8),
        ("eca-all", 0, 13),
        ("eca-null", 13, 8),
        ("se", 5, 8),
        ("scse", 5, 8),
    ],
)
def test_how_many_relus_and_attentions_a_student_has(
    name: str, relus: int, attentions: int
) -> None:
    layers = plan(name)
    assert (layers.count("R"), layers.count("A")) == (relus, attentions)
    assert (layers.count("C"), layers.count("B"), layers.count("M")) == (13, 13, 5)


@pytest.mark.parametrize("name", NAMES)
def test_the_order_of_a_student_s_layers(name: str) -> None:
    within, end = PLANS[name]
    assert plan(name) == 2 * (within + end) + 3 * (2 * within + end)


@pytest.mark.parametrize(
    ("name", "attention"),
    [("eca", ECA), ("eca-all", ECA), ("eca-null", ECA), ("se", SE), ("scse", SCSE)],
)
def test_which_attention_a_placement_places(name: str, attention: type[nn.Module]) -> None:
    features = student_network(PLACEMENTS[name], "lightweight").features
    assert {type(layer) for layer in features if LETTERS[type(layer)] == "A"} == {attention}


@pytest.mark.parametrize(
    ("name", "within", "before_pool"),
    [
        ("mkdad", (True, None), (True, None)),
        ("eca", (False, "eca"), (True, None)),
        ("eca-all", (False, "eca"), (False, "eca")),
        ("eca-null", (True, "eca"), (True, None)),
        ("se", (False, "se"), (True, None)),
        ("scse", (False, "scse"), (True, None)),
    ],
)
def test_what_follows_a_norm(
    name: str, within: tuple[bool, str | None], before_pool: tuple[bool, str | None]
) -> None:
    assert placement(name).after_norm(before_pool=False) == within
    assert placement(name).after_norm(before_pool=True) == before_pool


def test_an_unknown_placement_lists_all_and_the_nearest() -> None:
    with pytest.raises(ValueError, match="'eca_null' is no placement") as error:
        placement("eca_null")
    assert str(error.value) == (
        "'eca_null' is no placement; the placements are mkdad, eca, eca-all, eca-null, se, scse; "
        "did you mean eca-null?"
    )


def test_an_unknown_placement_that_is_near_to_none() -> None:
    with pytest.raises(ValueError, match=r"mkdad, eca, eca-all, eca-null, se, scse$"):
        placement("transformer")


def test_a_student_of_an_unknown_placement_is_rejected_in_the_same_words() -> None:
    with pytest.raises(ValidationError, match=r"'mkda' is no placement.*did you mean mkdad\?"):
        StudentConfig(placement="mkda")
