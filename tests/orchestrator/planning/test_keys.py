"""Identity by content: one spelling for equal values."""

import hashlib
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.planning.keys import canonical_json, sha256

values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)


def test_spelling_is_pinned() -> None:
    value = {"b": [1, 2.5, None], "a": {"é": True}}
    assert canonical_json(value) == '{"a":{"\\u00e9":true},"b":[1,2.5,null]}'


@given(st.dictionaries(st.text(), values, min_size=2))
@settings(max_examples=40, deadline=None)
def test_order_of_keys_is_no_part_of_it(value: dict[str, Any]) -> None:
    backwards = dict(reversed(value.items()))
    assert canonical_json(backwards) == canonical_json(value)


@given(values)
@settings(max_examples=40, deadline=None)
def test_nothing_is_lost(value: Any) -> None:
    assert json.loads(canonical_json(value)) == value


@pytest.mark.parametrize("number", [float("nan"), float("inf"), -float("inf")])
def test_numbers_that_json_lacks_are_refused(number: float) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        canonical_json({"lr": number})


def test_sha256_is_the_standard_one_over_utf8() -> None:
    empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    assert sha256("") == sha256(b"") == empty
    assert sha256("é") == hashlib.sha256(b"\xc3\xa9").hexdigest()
