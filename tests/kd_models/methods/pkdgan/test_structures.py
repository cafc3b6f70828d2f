import pytest

from kd_models.methods.pkdgan.structures import CHAINS, STRUCTURES, Term, chain

TABLE = {
    "teacher": {"L_g^T", "L_d^T"},
    "alone": {"L_g^S", "L_d^S"},
    "kdgan-1": {"K_l"},
    "kdgan-2": {"L_g^S", "L_d^S", "K_l"},
    "kdgan-3": {"L_g^T", "L_d^T", "K_l"},
    "kdgan-4": {"L_g^T", "L_d^T", "L_g^S", "L_d^S", "K_l"},
}


def test_the_rows_are_the_paper_s() -> None:
    assert {name: set(map(str, row.terms)) for name, row in STRUCTURES.items()} == TABLE
    assert [row.name for row in STRUCTURES.values()] == list(TABLE)


@pytest.mark.parametrize(
    ("name", "trains_teacher", "trains_student", "distils", "scored"),
    [
        ("teacher", True, False, False, "teacher"),
        ("alone", False, True, False, "student"),
        ("kdgan-1", False, True, True, "student"),
        ("kdgan-2", False, True, True, "student"),
        ("kdgan-3", True, True, True, "student"),
        ("kdgan-4", True, True, True, "student"),
    ],
)
def test_what_follows_from_the_terms(
    name: str, trains_teacher: bool, trains_student: bool, distils: bool, scored: str
) -> None:
    row = STRUCTURES[name]
    found = (row.trains_teacher, row.trains_student, row.distils, row.scored)
    assert found == (trains_teacher, trains_student, distils, scored)


@pytest.mark.parametrize("name", ["teacher", "alone", "kdgan-1", "kdgan-2", "kdgan-3", "kdgan-4"])
def test_a_structure_is_a_chain_of_itself(name: str) -> None:
    assert chain(name) == (STRUCTURES[name],)


def test_the_two_step_chains_begin_with_the_kdgan_2_run() -> None:
    assert [step.name for step in chain("p-kdgan-23")] == ["kdgan-2", "kdgan-3"]
    assert [step.name for step in chain("p-kdgan-24")] == ["kdgan-2", "kdgan-4"]


def test_the_teacher_and_every_structure_is_a_chain() -> None:
    assert set(CHAINS) == set(TABLE) | {"p-kdgan-23", "p-kdgan-24"}


def test_an_unknown_name_lists_the_valid_ones_and_the_nearest() -> None:
    with pytest.raises(ValueError, match="'kdgna-4' is no structure") as error:
        chain("kdgna-4")
    message = str(error.value)
    assert "alone, kdgan-1, kdgan-2, kdgan-3, kdgan-4, p-kdgan-23, p-kdgan-24" in message
    assert message.endswith("did you mean kdgan-4?")


def test_nothing_near_is_not_guessed_at() -> None:
    with pytest.raises(ValueError, match="structures are") as error:
        chain("zzz")
    assert "did you mean" not in str(error.value)


def test_the_terms_are_the_five_of_equation_7() -> None:
    assert {str(term) for term in Term} == TABLE["kdgan-4"]
