import os
from pathlib import Path

import pytest

from kd_models.data import DATASETS, DataError, dataset_row, resolve_class


def test_the_rows_are_the_paper_s() -> None:
    facts = {name: row.channels for name, row in DATASETS.items()}
    assert facts == {
        "digits": 1,
        "mnist": 1,
        "fmnist": 1,
        "cifar10": 3,
        "svhn": 3,
        "stl10": 3,
        "mvtec": 3,
    }
    for name, row in DATASETS.items():
        assert row.name == name
        if name == "mvtec":
            continue
        assert list(row.classes) == [str(index) for index in range(10)]
        assert len(set(row.classes.values())) == 10


def test_mvtec_s_classes_are_its_categories_in_alphabetical_order() -> None:
    keys = list(DATASETS["mvtec"].classes)
    assert (len(keys), keys[0], keys[7], keys[-1]) == (15, "bottle", "metal_nut", "zipper")
    assert keys == sorted(keys) == list(DATASETS["mvtec"].classes.values())


def test_fashion_classes_are_torchvision_s_in_its_order() -> None:
    from torchvision.datasets import FashionMNIST

    assert list(DATASETS["fmnist"].classes.values()) == FashionMNIST.classes


@pytest.mark.parametrize(
    ("name", "index", "display"),
    [
        ("fmnist", 8, "Bag"),
        ("cifar10", 3, "cat"),
        ("cifar10", 9, "truck"),
        ("stl10", 2, "car"),
        ("stl10", 7, "monkey"),
        ("mnist", 0, "0"),
    ],
)
def test_a_class_is_found_by_key_index_and_display_name(
    name: str, index: int, display: str
) -> None:
    row = dataset_row(name)
    spellings = (str(index), index, display, display.upper(), f" {display.lower()} ")
    assert [resolve_class(row, value) for value in spellings] == [str(index)] * 5


@pytest.mark.parametrize("value", ["normal", "NORMAL", 0])
def test_a_folder_has_the_one_class_normal(value: str | int) -> None:
    assert resolve_class(dataset_row("folder:x"), value) == "normal"


@pytest.mark.parametrize("value", ["novel", "0", 1])
def test_a_folder_has_no_other_class(value: str | int) -> None:
    with pytest.raises(DataError, match=f"has no class {value!r}; expected one of normal"):
        resolve_class(dataset_row("folder:x"), value)


def test_an_unknown_class_is_told_the_valid_ones_and_the_nearest() -> None:
    with pytest.raises(DataError) as caught:
        resolve_class(dataset_row("fmnist"), "angle boot")
    message = str(caught.value)
    assert message.startswith("fmnist has no class 'angle boot'; expected one of 0 (T-shirt/top), ")
    assert "8 (Bag)" in message
    assert message.endswith("; did you mean Ankle boot?")


@pytest.mark.parametrize("value", [10, -1, True, "", "zzz"])
def test_no_such_class_without_a_near_one(value: str | int) -> None:
    with pytest.raises(DataError, match=r"mnist has no class .*; expected one of 0, 1, .*, 9$"):
        resolve_class(dataset_row("mnist"), value)


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("mnits", "mnist"),
        ("fashion-mnist", "fmnist"),
        ("CIFAR", "cifar10"),
        ("stl-10", "stl10"),
        ("folder", "folder:PATH"),
        ("MVTec-AD", "mvtec"),
    ],
)
def test_an_unknown_dataset_is_told_the_valid_ones_and_the_nearest(name: str, nearest: str) -> None:
    with pytest.raises(DataError) as caught:
        dataset_row(name)
    assert str(caught.value) == (
        f"no dataset '{name}'; expected one of digits, mnist, fmnist, cifar10, svhn, stl10, "
        f"mvtec, folder:PATH, mvtec:PATH; did you mean {nearest}?"
    )


def test_a_far_off_name_gets_no_guess() -> None:
    with pytest.raises(DataError, match=r"no dataset 'imagenet21k'.*folder:PATH, mvtec:PATH$"):
        dataset_row("imagenet21k")


def test_a_folder_s_row_holds_the_whole_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", os.fspath(tmp_path / "home"))
    assert dataset_row("folder:a/../b").name == f"folder:{tmp_path / 'b'}"
    assert dataset_row("folder:~/c").name == f"folder:{tmp_path / 'home' / 'c'}"
    row = dataset_row(f"folder:{tmp_path}")
    assert (row.name, row.channels) == (f"folder:{tmp_path}", 3)
    assert dict(row.classes) == {"normal": "normal"}


@pytest.mark.parametrize("kind", ["folder", "mvtec"])
def test_a_folder_without_a_path_is_refused(kind: str) -> None:
    with pytest.raises(DataError, match=f"'{kind}:' names no folder; expected {kind}:PATH"):
        dataset_row(f"{kind}: ")


# Names that look like something else


def _categories(root: Path, *names: str) -> str:
    for name in names:
        (root / name / "train/good").mkdir(parents=True)
    return f"mvtec:{root}"


@pytest.mark.parametrize(
    ("names", "value", "key"),
    [
        (["01", "02", "03"], "01", "01"),
        (["1", "2", "3"], 1, "1"),
        (["1", "2", "3"], 0, "1"),
        (["1:2", "62"], "1:2", "1:2"),
        (["Screw", "screw"], "screw", "screw"),
        (["a", " a"], " a", " a"),
        (["a\\b"], "a\\b", r"a\\b"),
        (["a\\b"], r"a\\b", r"a\\b"),
        (["a\nb"], "a\nb", r"a\u000ab"),
        ([os.fsdecode(b"caf\xe9")], os.fsdecode(b"caf\xe9"), r"caf\xe9"),
        ([os.fsdecode(b"caf\xe9")], r"caf\xe9", r"caf\xe9"),
        (["caf\u00e9"], "cafe\u0301", "caf\u00e9"),
        (["螺丝", "螺母"], "螺母", "螺母"),
        (["x", "all"], "all", "all"),
    ],
)
def test_a_class_is_matched_by_name_before_it_can_be_an_index(
    tmp_path: Path, names: list[str], value: str | int, key: str
) -> None:
    assert resolve_class(dataset_row(_categories(tmp_path, *names)), value) == key


@pytest.mark.parametrize(
    ("names", "value", "meant"),
    [
        (["01", "02", "03"], 1, "class 1 may mean 01, or the one with index 1; put the name in q"),
        (["08", "09"], 9, "class 9 may mean 09; put the name in quotes, such as '09'"),
        (["+1", "b"], 1, "class 1 may mean +1, or the one with index 1"),
        (["Screw", "screw"], "SCREW", "class 'SCREW' may mean Screw or screw; write the name"),
        (["caf\u00e9", "cafe\u0301"], "CAFE\u0301", "may mean cafe\u0301 or caf\u00e9; write"),
    ],
)
def test_a_class_that_may_mean_several_is_refused(
    tmp_path: Path, names: list[str], value: str | int, meant: str
) -> None:
    with pytest.raises(DataError) as caught:
        resolve_class(dataset_row(_categories(tmp_path, *names)), value)
    assert meant in str(caught.value)


@pytest.mark.parametrize(
    "name", ["x[/old]", os.fsdecode(b"caf\xe9"), "a\\b", "a\nb", "~x", "100% $x", "螺丝 ", r"a\x41"]
)
def test_a_folder_s_printed_name_finds_it_again(tmp_path: Path, name: str) -> None:
    (tmp_path / name).mkdir(parents=True)
    row = dataset_row(f"folder:{tmp_path / name}")
    row.name.encode()
    assert row.name.isprintable()
    assert dataset_row(row.name).name == row.name


def test_a_path_that_may_mean_two_folders_is_refused(tmp_path: Path) -> None:
    for name in (r"a\x41", os.fsdecode(b"a\x41"), r"a\u0042", "aB"):
        (tmp_path / name).mkdir()
    assert dataset_row(f"folder:{tmp_path}/aB").name == f"folder:{tmp_path}/aB"
    with pytest.raises(DataError, match="may mean two folders"):
        dataset_row(rf"folder:{tmp_path}/a\u0042")
    assert dataset_row(rf"folder:{tmp_path}/a\\u0042").name == rf"folder:{tmp_path}/a\\u0042"
