"""YAML read as it looks."""

import json
import re
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.planning.yaml_reader import read_yaml


@pytest.mark.parametrize(
    ("text", "value"),
    [
        # What YAML 1.1 reads as something else.
        ("010", "010"), ("01", "01"), ("00", "00"), ("0x1f", "0x1f"), ("0o17", "0o17"),
        ("0b11", "0b11"), ("1_000", "1_000"), ("1:2", "1:2"), ("190:20:30.15", "190:20:30.15"),
        ("yes", "yes"), ("no", "no"), ("on", "on"), ("Off", "Off"), ("y", "y"), ("=", "="),
        ("2024-01-01", "2024-01-01"), ("00.5", "00.5"),
        # What it reads as text.
        ("1e-3", 0.001), ("1E5", 100000.0), ("-2e3", -2000.0),
        # What both read alike.
        ("0", 0), ("12", 12), ("-3", -3), ("+3", 3), ("0.5", 0.5), (".5", 0.5), ("5.", 5.0),
        ("true", True), ("False", False), ("null", None), ("~", None), ("", None),
        (".inf", float("inf")), ("-.inf", float("-inf")), ("'12'", "12"), ('"true"', "true"),
        ("!!str 12", "12"), ("!!int '12'", 12), ("!!float 1", 1.0), ('"\\udce9"', "\udce9"),
        ("!!bool 'true'", True), ("!!null ''", None),
        ("[a, [1, b]]", ["a", [1, "b"]]), ("{a: {b: 1}}", {"a": {"b": 1}}),
    ],
)  # fmt: skip
def test_a_value_is_read_so(text: str, value: Any) -> None:
    found = read_yaml(f"x: {text}")["x"]
    assert (found, type(found)) == (value, type(value))


def test_a_key_given_twice_is_refused_with_both_lines() -> None:
    with pytest.raises(yaml.YAMLError, match="b is given twice, in line 2 and in line 4; one of"):
        read_yaml("a:\n  b: 1\n  c: 2\n  b: 1\n")
    with pytest.raises(yaml.YAMLError, match="a is given twice, in line 2 and in line 6;"):
        read_yaml("\na:\n\n  x: 1\n\na:\n\n  y: 2\n")
    with pytest.raises(yaml.YAMLError, match="x is given twice, in line 1 and in line 1"):
        read_yaml("{x: 1, 'x': 2}")


def test_a_key_repeated_by_an_alias_is_given_twice() -> None:
    with pytest.raises(yaml.YAMLError, match="b is given twice, in line 1 and in line 2"):
        read_yaml("&b b: 1\n*b : 2\n")
    with pytest.raises(yaml.YAMLError, match="b is given twice, in line 2 and in line 3"):
        read_yaml("x: &b b\n*b : 1\nb: 2\n")
    with pytest.raises(yaml.YAMLError, match="in line 3 the key 5 is no text"):
        read_yaml("a: &k 5\n\n*k : 3\n")


def test_keys_that_are_one_in_two_spellings_are_given_twice() -> None:
    with pytest.raises(yaml.YAMLError, match="is given twice, in line 1 and in line 1"):
        read_yaml('{"\\ud83d\\ude00": 1, "\\U0001f600": 2}')


@pytest.mark.parametrize("key", ["1", "1.0", "true", "~", "[a]", "{a: 1}"])
def test_a_key_is_text(key: str) -> None:
    with pytest.raises(yaml.YAMLError, match=r"in line 2 the key .* is no text; put it in quotes"):
        read_yaml(f"a: 1\n? {key}\n: 2\n")
    assert read_yaml(f"{{'{key}': 2}}") == {key: 2}


def test_a_merged_key_may_be_given_again() -> None:
    text = "a: &a {<<: {x: 0}, x: 1, y: 2}\nb: {<<: *a, y: 3}\nc: *a"
    read = read_yaml(text)
    assert read == {"a": {"x": 1, "y": 2}, "b": {"x": 1, "y": 3}, "c": {"x": 1, "y": 2}}


@pytest.mark.parametrize(
    "text",
    [
        "!!int 010",
        "!!bool yes",
        "!!bool maybe",
        "!!null 5",
        "!!float x",
        "!!binary aGk=",
        "!!timestamp 2024-01-01",
        "!!python/object/apply:os.system [x]",
        "&a [*a]",
        "&a {b: *a}",
        "[" * 2000,
        "9" * 5000,
        "*nothing",
    ],
)
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(yaml.YAMLError):
        read_yaml(f"x: {text}")


# YAML 1.1 takes 1e5, without a point, for text, so its writers do not quote it.
TEXT = st.text().filter(lambda text: not re.fullmatch(r"[-+]?[0-9.]+[eE][-+]?[0-9]+", text))
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=8,
)


@given(VALUES)
def test_what_a_library_writes_is_read_back(value: Any) -> None:
    """Text that looks like a number to YAML 1.1 comes quoted, and numbers come plain."""
    assert read_yaml(yaml.safe_dump(value)) == value


@given(st.text())
def test_json_is_yaml(text: str) -> None:
    assert read_yaml(json.dumps({"x": [text]})) == {"x": [text]}


@given(st.text(st.sampled_from("0123456789+-._:eExob"), min_size=1, max_size=8))
def test_a_number_is_what_python_reads_in_decimal_too(text: str) -> None:
    try:
        found = read_yaml(f"x: {text}")["x"]
    except (yaml.YAMLError, TypeError):
        return
    if isinstance(found, int | float):
        assert float(text.lower().replace(".inf", "inf").replace(".nan", "nan")) == found
        assert text.lstrip("+-")[:1] != "0" or text.lstrip("+-")[1:2] in ("", ".", "e", "E")
