"""Names as text: every one distinct, valid, and the same again."""

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kd_score.names import encodable, original, printable, shortened, together

FILE_NAMES = st.binary(min_size=1, max_size=40).map(os.fsdecode)
"""any bytes: what a file system may hold"""
ANY_TEXT = st.text(st.characters(exclude_categories=[]), max_size=40) | FILE_NAMES


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("metal_nut", "metal_nut"),
        ("Größe 3 [m4]", "Größe 3 [m4]"),
        ("螺丝", "螺丝"),
        (os.fsdecode(b"caf\xe9"), r"caf\xe9"),
        ("cafÿ", "cafÿ"),
        ("a\nb\tc", r"a\u000ab\u0009c"),
        ("\x85", r"\u0085"),
        (os.fsdecode(b"\x85"), r"\x85"),
        ("a\\b", r"a\\b"),
        (r"caf\xe9", r"caf\\xe9"),
        ("\u202eexe", r"\u202eexe"),
        ("\U000e0001", r"\U000e0001"),
    ],
)
def test_a_name_is_printed_so(name: str, text: str) -> None:
    assert printable(name) == text
    assert original(text) == name


@given(ANY_TEXT)
def test_what_is_printed_is_valid_printable_and_means_the_name(name: str) -> None:
    text = printable(name)
    text.encode()
    assert text.isprintable()
    assert original(text) == name


@given(st.sets(ANY_TEXT, min_size=2, max_size=8))
def test_names_stay_distinct(names: set[str]) -> None:
    assert len({printable(name) for name in names}) == len(names)
    assert len({shortened(printable(name), 20) for name in names}) == len(names)


def test_what_is_no_escape_means_itself() -> None:
    for text in (r"a\b \x \u12 \q", r"\x41 \xFF", r"\Uffffffff \U00110000"):
        assert original(text) == text


def test_lists_of_names_do_not_read_alike() -> None:
    assert together("digits", "8") == "digits 8"
    assert together("mvtec:/a b", "c") == "'mvtec:/a b' c"
    assert together("mvtec:/a", "b c") == "mvtec:/a 'b c'"


@given(st.lists(st.text(" ab'\"", max_size=4), max_size=3), st.lists(st.text(" ab'\"", max_size=4)))
def test_only_equal_lists_read_alike(first: list[str], second: list[str]) -> None:
    assert (together(*first) == together(*second)) == (first == second)


@given(ANY_TEXT, st.integers(12, 40))
def test_a_short_name_is_no_longer_than_that(name: str, most: int) -> None:
    assert len(shortened(name, most)) <= most
    assert len(name) > most or shortened(name, most) == name


def test_free_text_loses_nothing_but_what_utf8_cannot_hold() -> None:
    assert encodable("é\n\\ 螺 " + os.fsdecode(b"\xff")) == "é\n\\ 螺 \\udcff"
