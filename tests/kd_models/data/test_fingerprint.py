import re

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from torch import Tensor

from kd_models.data import DataError, Split
from kd_models.data.fingerprint import array_splits, fingerprint_arrays, fingerprint_files

# The cores are shared: a slow example is not a wrong one.
PATIENT = settings(deadline=None)
SMALL = hnp.arrays(np.uint8, hnp.array_shapes(min_dims=1, max_dims=4, max_side=4))
FILES = st.dictionaries(st.text(max_size=4), st.binary(max_size=4), max_size=4)


@PATIENT
@given(SMALL, st.data())
def test_one_changed_value_changes_the_fingerprint(array: np.ndarray, data: st.DataObject) -> None:
    changed = array.copy()
    where = data.draw(st.integers(0, array.size - 1))
    changed.flat[where] ^= data.draw(st.sampled_from([1, 128]))
    same = fingerprint_arrays(torch.from_numpy(array.copy()))
    assert fingerprint_arrays(torch.from_numpy(array)) == same
    assert fingerprint_arrays(torch.from_numpy(changed)) != same
    assert re.fullmatch("[0-9a-f]{64}", same)


def test_shape_dtype_order_and_borders_count() -> None:
    flat = torch.zeros(6, dtype=torch.uint8)
    one = torch.ones(6, dtype=torch.uint8)
    fingerprints = [
        fingerprint_arrays(flat),
        fingerprint_arrays(flat.view(2, 3)),
        fingerprint_arrays(flat.view(3, 2)),
        fingerprint_arrays(flat.to(torch.int64)),
        fingerprint_arrays(flat, one),
        fingerprint_arrays(one, flat),
        fingerprint_arrays(flat[:3], flat[3:], one),
    ]
    assert len(set(fingerprints)) == len(fingerprints)


def test_memory_layout_does_not_count() -> None:
    image = torch.arange(24, dtype=torch.uint8).view(2, 3, 2, 2)
    turned = image.permute(3, 2, 1, 0).contiguous().permute(3, 2, 1, 0)
    assert not turned.is_contiguous()
    assert fingerprint_arrays(turned) == fingerprint_arrays(image)


@PATIENT
@given(FILES, FILES)
def test_files_have_the_same_fingerprint_only_if_they_are_the_same(
    first: dict[str, bytes], second: dict[str, bytes]
) -> None:
    fingerprints = [fingerprint_files(files.items()) for files in (first, second)]
    assert (fingerprints[0] == fingerprints[1]) == (first == second)


@PATIENT
@given(FILES)
def test_the_order_in_which_files_are_found_does_not_count(files: dict[str, bytes]) -> None:
    backwards = list(reversed(files.items()))
    assert fingerprint_files(backwards) == fingerprint_files(files.items())


def test_a_path_s_end_is_not_its_content_s_start() -> None:
    assert fingerprint_files([("ab", b"c")]) != fingerprint_files([("a", b"bc")])


def _split(labels: list[int], level: int = 0) -> Split:
    return Split(torch.full((2, 1, 2, 2), level, dtype=torch.uint8), torch.tensor(labels))


def test_both_splits_pixels_and_labels_count() -> None:
    variants = [
        (_split([0, 1]), _split([0, 1])),
        (_split([0, 0]), _split([0, 1])),
        (_split([0, 1]), _split([1, 1])),
        (_split([0, 1], level=1), _split([0, 1])),
        (_split([0, 1]), _split([0, 1], level=1)),
    ]
    assert len({array_splits(*splits).fingerprint for splits in variants}) == len(variants)


def test_a_missing_label_is_refused() -> None:
    with pytest.raises(DataError, match="2 images but 1 labels"):
        array_splits(_split([0, 1]), _split([0]))


def test_a_fingerprint_never_changes_between_versions() -> None:
    # Stored results are found by it: a change here orphans every one of them.
    arrays: tuple[Tensor, ...] = (torch.arange(6, dtype=torch.uint8).view(2, 3), torch.tensor([7]))
    assert fingerprint_arrays(*arrays) == ARRAYS_FINGERPRINT
    assert fingerprint_files([("b", b"2"), ("a", b"1")]) == FILES_FINGERPRINT


ARRAYS_FINGERPRINT = "b129bfbb31f7e364b18734426a12999cb18c42f86579722873ed48ff73fc623d"
FILES_FINGERPRINT = "647cf5c79b5ebd000f76f084c96b60dc97a517914bfd6e5639a0f6bef3ba7a32"
