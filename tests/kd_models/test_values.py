import pytest
from pydantic import ValidationError

from kd_models.values import Value, nearest


class Setting(Value):
    epochs: int = 1


def test_the_nearest_name_is_offered() -> None:
    assert nearest("ephocs", ["seed", "epochs", "lr"]) == "; did you mean epochs?"


def test_nothing_is_offered_when_nothing_is_near() -> None:
    assert nearest("zzz", ["seed", "epochs"]) == ""
    assert nearest("epochs", []) == ""


def test_only_the_nearest_is_offered() -> None:
    assert nearest("kdgan-22", ["kdgan-1", "kdgan-2"]) == "; did you mean kdgan-2?"


def test_any_object_and_any_iterable_will_do() -> None:
    assert nearest(31, iter(["3", "21"])) in ("; did you mean 3?", "; did you mean 21?")


def test_a_value_is_frozen() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        Setting().epochs = 2  # type: ignore[misc]


def test_a_value_takes_no_unknown_key() -> None:
    with pytest.raises(ValidationError, match="ephocs"):
        Setting(ephocs=2)  # type: ignore[call-arg]
