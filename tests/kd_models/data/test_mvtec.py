import os
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from kd_models.data import (
    DATASETS,
    DataError,
    DatasetMissing,
    ImageFiles,
    ImageSet,
    LoadOptions,
    OneClassData,
    UnreadableImage,
    dataset_row,
    load,
    one_class,
    read_image,
    resolve_class,
    to_model_input,
    to_model_masks,
)
from kd_models.data.image_files import ImageFile
from kd_models.data.read_image import decode_mask
from kd_models.evaluation.protocol import holdout_split
from kd_score.names import printable

HEIGHT, WIDTH = 20, 24
# Kinds of defect and their counts; "bent" is in two categories, at the same place in both.
DEFECTS = {"bolt": {"bent": 2, "cut": 3}, "cap": {"hole": 2}, "rod": {"bent": 2}}
BENT, HOLE = "bolt/test/bent", "cap/test/hole"


def _mask(number: int) -> np.ndarray:
    """Defective in a block of its own size and value, as tools write them."""
    mask = np.zeros((HEIGHT, WIDTH), dtype=np.uint8)
    mask[4 : 8 + number, 6:18] = (255, 1, 100, 128)[number % 4]
    return mask


def _save(path: Path, values: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(values).save(path)


def _write_category(folder: Path, defects: dict[str, int], seed: int) -> None:
    random = np.random.default_rng(seed)
    counts = {"train/good": 3, "test/good": 2} | {f"test/{k}": n for k, n in defects.items()}
    for part, count in counts.items():
        for number in range(count):
            values = random.integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)
            _save(folder / part / f"{number:03}.png", values)
            if part.removeprefix("test/") in defects:
                kind = part.removeprefix("test/")
                _save(folder / f"ground_truth/{kind}/{number:03}_mask.png", _mask(number))


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """Three categories in MVTec AD's layout."""
    root = tmp_path / "place"
    for seed, (name, defects) in enumerate(DEFECTS.items()):
        _write_category(root / name, defects, seed)
    return root


def _load(place: Path, **options: Any) -> ImageSet:
    return load(f"mvtec:{place}", Path("unused"), LoadOptions(**options))


def _task(image_set: ImageSet, category: str, image_size: int = 8) -> OneClassData:
    return one_class(image_set, category, image_size=image_size, channels=3)


def _present(image_set: ImageSet) -> list[bool]:
    assert image_set.masks is not None
    return [mask is not None for mask in image_set.masks]


def test_the_tree_s_parts_labels_and_defects(place: Path) -> None:
    loaded = _load(place)
    assert loaded.name == f"mvtec:{place}"
    assert list(loaded.row.classes.items()) == [(name, name) for name in DEFECTS]
    assert loaded.row.channels == 3
    assert loaded.train.labels.tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2]
    assert loaded.test.labels.tolist() == [0] * 7 + [1] * 4 + [2] * 4
    assert loaded.test_defects is not None
    assert loaded.test_defects.tolist() == [0, 0, 1, 1, 2, 2, 2, 0, 0, 1, 1, 0, 0, 1, 1]
    assert {loaded.test_defects.dtype, loaded.test.labels.dtype} == {torch.int64}
    assert loaded.test_names is not None
    assert loaded.test_names[1:5] == (
        "bolt/test/good/001.png",
        f"{BENT}/000.png",
        f"{BENT}/001.png",
        "bolt/test/cut/000.png",
    )
    for name, image in zip(loaded.test_names, loaded.test.images, strict=True):
        assert torch.equal(image, read_image(place / name))
    assert loaded.skipped == ()
    assert not Path("unused").exists()


def test_masks_are_true_where_not_zero_and_false_all_over_good_images(place: Path) -> None:
    masks = _load(place).masks
    assert masks is not None
    assert len(masks) == 15
    good, bent, second = masks[0], masks[2], masks[3]
    assert good is not None
    assert bent is not None
    assert second is not None
    assert {mask.dtype for mask in (good, bent)} == {torch.bool}
    assert good.shape == (HEIGHT, WIDTH)
    assert not good.any()
    assert torch.equal(bent, torch.from_numpy(_mask(0) != 0))
    assert torch.equal(second, torch.from_numpy(_mask(1) != 0))
    assert [mask is None for mask in masks[1:3]] == [False, False]
    assert torch.equal(masks.take([3, 0])[0], second)  # type: ignore[arg-type]


def _decoded(path: Path) -> list[list[bool]]:
    return decode_mask(path.read_bytes(), path).tolist()


@pytest.mark.parametrize("suffix", ["png", "tif"])
@pytest.mark.parametrize(
    "values",
    [
        np.array([[0, 1, 100, 128, 255]], dtype=np.uint8),
        np.array([[0, 1, 255, 256, 65535]], dtype=np.uint16),
        np.array([[[0, 0, 0], [0, 0, 1], [255, 0, 0], [0, 255, 0], [9, 9, 9]]], dtype=np.uint8),
        np.array([[False, True, True, True, True]]),
    ],
    ids=["8 bits", "16 bits", "colour", "1 bit"],
)
def test_a_mask_marks_where_it_is_not_zero(tmp_path: Path, values: np.ndarray, suffix: str) -> None:
    _save(tmp_path / f"m.{suffix}", values)
    assert _decoded(tmp_path / f"m.{suffix}") == [[False, True, True, True, True]]


@pytest.mark.parametrize(
    "values", [np.array([[0, 3]], dtype=np.int32), np.array([[0, 0.1]], dtype=np.float32)]
)
def test_a_mask_of_32_bits_needs_no_range(tmp_path: Path, values: np.ndarray) -> None:
    _save(tmp_path / "m.tif", values)
    assert _decoded(tmp_path / "m.tif") == [[False, True]]


def test_a_mask_of_numbers_that_are_none_is_unreadable(tmp_path: Path) -> None:
    _save(tmp_path / "m.tif", np.array([[0, np.nan]], dtype=np.float32))
    with pytest.raises(UnreadableImage, match="not finite"):
        _decoded(tmp_path / "m.tif")


@pytest.mark.parametrize("colours", [[0, 0, 0, 128, 0, 0], [0, 0, 0, 0, 0, 1], [0] * 6])
def test_a_palette_s_colour_marks_and_where_all_are_black_its_number(
    tmp_path: Path, colours: list[int]
) -> None:
    image = Image.fromarray(np.array([[0, 1]], dtype=np.uint8)).convert("P")
    image.putpalette(colours)
    image.save(tmp_path / "m.png")
    assert _decoded(tmp_path / "m.png") == [[False, True]]


def test_the_ringing_around_a_jpeg_s_edges_is_no_mark(tmp_path: Path) -> None:
    values = np.zeros((32, 32), dtype=np.uint8)
    values[8:21, 11:24] = 255
    Image.fromarray(values).save(tmp_path / "m.jpg", quality=60)
    assert (np.asarray(Image.open(tmp_path / "m.jpg"))[values == 0] > 0).any()
    assert _decoded(tmp_path / "m.jpg") == (values > 0).tolist()


def test_what_is_transparent_in_a_mask_is_not_marked(tmp_path: Path) -> None:
    _save(tmp_path / "m.png", np.array([[[255, 255, 255, 0], [255] * 4]], dtype=np.uint8))
    assert _decoded(tmp_path / "m.png") == [[False, True]]


def test_masks_are_resized_to_what_the_networks_get(place: Path) -> None:
    data = _task(_load(place), "bolt", image_size=10)
    assert data.masks is not None
    assert data.masked is not None
    assert (data.masks.shape, data.masks.dtype) == ((7, 10, 10), torch.bool)
    assert data.masked.tolist() == [True] * 7
    assert not data.masks[:2].any()
    # 2 x 2.4 pixels become one: rows 4 to 7 are 2 and 3; the centres of columns 3 to 6 are at
    # 8.4, 10.8, 13.2 and 15.6, those of 2 and 7 at 6.0 and 18.0, of which 6 to 17 has the first.
    expected = torch.zeros(10, 10, dtype=torch.bool)
    expected[2:4, 2:7] = True
    assert torch.equal(data.masks[2], expected)


def test_a_mask_of_a_pixel_s_own_size_is_kept() -> None:
    mask = torch.eye(4, dtype=torch.bool)
    masks, known = to_model_masks([mask, None, ~mask], image_size=4)
    assert known.tolist() == [True, False, True]
    assert torch.equal(masks, torch.stack([mask, torch.zeros_like(mask), ~mask]))


def test_a_single_missing_mask_is_told_apart_from_an_empty_one(place: Path) -> None:
    (place / "bolt/ground_truth/cut/001_mask.png").unlink()
    loaded = _load(place)
    assert loaded.skipped == ()
    assert _present(loaded)[:7] == [True, True, True, True, True, False, True]
    data = _task(loaded, "bolt")
    assert data.masks is not None
    assert data.masked is not None
    assert data.masked.tolist() == [True, True, True, True, True, False, True]
    assert data.masks.any((1, 2)).tolist() == [False, False, True, True, True, False, True]


def test_a_category_without_a_mask_has_none(place: Path) -> None:
    shutil.rmtree(place / "cap/ground_truth")
    loaded = _load(place)
    cap, bolt = _task(loaded, "cap"), _task(loaded, "bolt")
    assert (cap.masks, cap.masked) == (None, None)
    assert bolt.masks is not None
    assert bolt.masks[2:].any((1, 2)).all()


def test_a_mask_may_have_another_suffix_and_lie_in_a_sub_folder(place: Path) -> None:
    truth = place / "bolt/ground_truth/bent"
    with Image.open(truth / "000_mask.png") as mask:
        mask.save(truth / "000_mask.bmp")
    (truth / "000_mask.png").unlink()
    _save(place / BENT / "late/v1.5.png", np.zeros((HEIGHT, WIDTH), dtype=np.uint8))
    _save(truth / "late/v1.5_mask.png", _mask(5))
    masks = _load(place).masks
    assert masks is not None
    assert [int(mask.sum()) for mask in masks[2:5] if mask is not None] == [48, 60, 108]


def test_two_masks_for_an_image_are_refused(place: Path) -> None:
    truth = place / "bolt/ground_truth/bent"
    _save(truth / "000_mask.bmp", _mask(1))
    with pytest.raises(DataError) as caught:
        _load(place)
    assert str(caught.value) == (
        f"two masks for one image: {truth / '000_mask.bmp'} and {truth / '000_mask.png'}"
    )


def test_a_task_has_its_category_s_test_images_alone(place: Path) -> None:
    loaded = _load(place)
    data = _task(loaded, "CAP")
    assert (data.dataset, data.normal_class) == (f"mvtec:{place}", "cap")
    assert (data.train.shape, data.test.shape) == ((3, 3, 8, 8), (4, 3, 8, 8))
    assert data.names == (
        "cap/test/good/000.png",
        "cap/test/good/001.png",
        f"{HOLE}/000.png",
        f"{HOLE}/001.png",
    )
    assert data.labels.tolist() == [0, 0, 1, 1]
    assert data.novel.tolist() == [False, False, True, True]
    last = to_model_input([read_image(place / HOLE / "001.png")], image_size=8, channels=3)
    assert torch.equal(data.test[3:], last)


def test_the_holdout_halves_every_kind_of_defect(place: Path) -> None:
    _write_category(place / "bolt", {"bent": 4, "cut": 6}, seed=9)
    labels = _task(_load(place), "bolt").labels
    split = holdout_split(labels.numpy())
    assert labels.bincount().tolist() == [2, 4, 6]
    assert labels[split.validation].bincount().tolist() == [1, 2, 3]


def test_only_the_wanted_categories_are_read(place: Path) -> None:
    for path in (place / "cap/train/good/000.png", place / "rod/ground_truth/bent/000_mask.png"):
        path.write_bytes(b"broken")
    loaded = _load(place, classes=("bolt",))
    assert list(loaded.row.classes) == ["bolt", "cap", "rod"]
    assert isinstance(loaded.train.images, ImageFiles)
    assert {file.name.split("/")[0] for file in loaded.train.images.files} == {"bolt"}
    assert loaded.test_names is not None
    assert {name.split("/")[0] for name in loaded.test_names} == {"bolt"}
    with pytest.raises(DataError) as caught:
        _task(loaded, "cap")
    assert str(caught.value) == (f"mvtec:{place}: category 'cap' was not loaded; there are bolt")


def test_labels_do_not_depend_on_which_categories_are_read(place: Path) -> None:
    loaded = _load(place, classes=("rod", "cap"))
    assert loaded.train.labels.tolist() == [1, 1, 1, 2, 2, 2]
    assert _task(loaded, "rod").names == _task(_load(place), "rod").names
    with pytest.raises(DataError, match=f"{place} has no category nut; expected of bolt, cap, rod"):
        _load(place, classes=("nut",))


def test_other_datasets_do_not_mind_the_classes(tree: Path) -> None:
    whole = load(f"folder:{tree}", Path("unused"))
    loaded = load(f"folder:{tree}", Path("unused"), LoadOptions(classes=("normal",)))
    assert loaded.fingerprint_of("normal") == loaded.fingerprint == whole.fingerprint
    assert (loaded.test_defects, loaded.masks, loaded.class_fingerprints) == (None, None, None)


def test_a_category_is_the_same_wherever_it_lies_and_whatever_lies_beside_it(
    place: Path, tmp_path: Path
) -> None:
    loaded = _load(place)
    shutil.copytree(place / "cap", tmp_path / "other/cap")
    alone = _load(tmp_path / "other")
    assert alone.fingerprint_of("cap") == loaded.fingerprint_of("cap")
    assert alone.fingerprint != loaded.fingerprint
    assert alone.fingerprint == _load(place, classes=("cap",)).fingerprint
    (tmp_path / "other/cap").rename(tmp_path / "other/lid")
    assert _load(tmp_path / "other").fingerprint_of("lid") == loaded.fingerprint_of("cap")
    assert _task(loaded, "cap").fingerprint == loaded.fingerprint_of("cap")
    assert len({loaded.fingerprint, *map(loaded.fingerprint_of, DEFECTS)}) == 4


def _set_pixel(path: Path) -> None:
    with Image.open(path) as image:
        values = np.array(image)
    values[0, 0] = 255 - values[0, 0]
    _save(path, values)


@pytest.mark.parametrize(
    "name",
    [
        "cap/train/good/000.png",
        "cap/test/good/001.png",
        f"{HOLE}/000.png",
        "cap/ground_truth/hole/001_mask.png",
    ],
)
@pytest.mark.parametrize("change", [_set_pixel, Path.unlink])
def test_every_image_and_mask_of_a_category_counts_in_its_fingerprint(
    place: Path, name: str, change: Callable[[Path], None]
) -> None:
    before = _load(place)
    change(place / name)
    after = _load(place)
    changed = [key for key in DEFECTS if before.fingerprint_of(key) != after.fingerprint_of(key)]
    assert changed == ["cap"]
    assert before.fingerprint != after.fingerprint


def test_another_kind_of_defect_is_another_dataset(place: Path) -> None:
    before = _load(place).fingerprint_of("cap")
    for part in ("test", "ground_truth"):
        (place / "cap" / part / "hole").rename(place / "cap" / part / "dent")
    assert _load(place).fingerprint_of("cap") != before


def test_what_is_not_used_does_not_count(place: Path) -> None:
    before = _load(place)
    (place / "bolt/test/a_kind_without_images").mkdir()
    (place / "bolt/readme.txt").write_text("licence")
    _save(place / "bolt/ground_truth/bent/900_mask.png", _mask(0))
    _save(place / "bolt/test/.hidden/000.png", _mask(0))
    (place / "not_a_category").mkdir()
    after = _load(place)
    assert before.test_defects is not None
    assert after.test_defects is not None
    assert after.test_defects.tolist() == before.test_defects.tolist()
    assert (after.test_names, after.fingerprint) == (before.test_names, before.fingerprint)
    assert list(after.row.classes) == list(DEFECTS)


def test_a_category_s_folder_is_the_only_category(place: Path) -> None:
    loaded = _load(place / "cap")
    assert loaded.name == f"mvtec:{place / 'cap'}"
    assert dict(loaded.row.classes) == {"cap": "cap"}
    assert loaded.train.labels.tolist() == [0, 0, 0]
    assert loaded.fingerprint_of("cap") == _load(place).fingerprint_of("cap")
    assert _task(loaded, "cap").names == _task(_load(place), "cap").names


def test_the_path_is_made_whole(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(place)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert dataset_row("mvtec:.").name == f"mvtec:{place}"
    assert list(dataset_row("mvtec:.").classes) == list(DEFECTS)
    assert dataset_row("mvtec:~/place/cap/../rod").name == f"mvtec:{place / 'rod'}"
    relative = load("mvtec:cap", Path())
    monkeypatch.chdir("/")
    assert relative.train.images[0].shape == (3, HEIGHT, WIDTH)


def test_an_unknown_category_is_told_the_ones_there_are(place: Path) -> None:
    with pytest.raises(DataError) as caught:
        resolve_class(dataset_row(f"mvtec:{place}"), "bolts")
    assert str(caught.value) == (
        f"mvtec:{place} has no class 'bolts'; expected one of bolt, cap, rod; did you mean bolt?"
    )


@pytest.mark.parametrize("state", ["missing", "a file", "empty"])
def test_a_path_without_a_category_is_named_and_the_tree_drawn(tmp_path: Path, state: str) -> None:
    path = tmp_path / "path"
    if state == "a file":
        path.touch()
    elif state == "empty":
        (path / "thing/train/normal").mkdir(parents=True)
    what = {
        "missing": "is not there",
        "a file": "is no folder",
        "empty": "has no category, a folder with train/good, in it",
    }
    with pytest.raises(DataError) as caught:
        dataset_row(f"mvtec:{path}")
    problem, *drawing = str(caught.value).splitlines()
    assert problem.startswith(f"{path} {what[state]}; ")
    assert drawing[0] == str(path)
    words = [line.strip("│├└─ ").split()[0] for line in drawing[1:]]
    assert " ".join(words) == "<category> train good test good <defect> ground_truth <defect>"


@pytest.mark.parametrize("part", ["train/good", "test/good"])
def test_a_category_s_missing_or_empty_part_is_named(place: Path, part: str) -> None:
    folder = place / "cap" / part
    row = dataset_row(f"mvtec:{place}")
    for path in folder.iterdir():
        path.unlink()
    with pytest.raises(DataError, match=rf"^{folder} has no image in it; .*layout(.|\n)*<defect>"):
        _load(place)
    folder.rmdir()
    if part == "test/good":
        with pytest.raises(DataError, match=f"^{folder} is not there; "):
            _load(place)
    else:
        assert list(row.classes) == ["bolt", "cap", "rod"]
        assert list(dataset_row(f"mvtec:{place}").classes) == ["bolt", "rod"]


def test_a_category_without_defects_is_named(place: Path) -> None:
    shutil.rmtree(place / HOLE)
    expected = f"^{place / 'cap/test'} has no folder of images with a defect in it; "
    with pytest.raises(DataError, match=expected):
        _load(place)


def test_too_few_test_images_are_refused(place: Path) -> None:
    (place / HOLE / "001.png").unlink()
    with pytest.raises(DataError, match="normal class cap: 1 novel test images; expected at least"):
        _task(_load(place), "cap")
    # Others' images are no substitute.
    assert len(_task(_load(place), "rod").test) == 4


def test_a_broken_image_stops_or_is_left_out_with_its_mask(place: Path) -> None:
    for name in ("bolt/train/good/001.png", "bolt/test/cut/001.png"):
        (place / name).write_bytes(b"broken")
    with pytest.raises(UnreadableImage, match=r"bolt/train/good/001\.png .*unreadable: skip"):
        _load(place)
    loaded = _load(place, unreadable="skip")
    assert loaded.skipped == ("bolt/train/good/001.png", "bolt/test/cut/001.png")
    data = _task(loaded, "bolt")
    assert (len(data.train), data.labels.tolist()) == (2, [0, 0, 1, 1, 2, 2])
    assert loaded.masks is not None
    # The images after it have kept their own masks.
    assert [int(mask.sum()) for mask in loaded.masks[4:6] if mask is not None] == [48, 72]


@pytest.mark.parametrize("state", ["broken", "another size"])
def test_a_mask_that_cannot_be_used_stops_or_counts_as_missing(place: Path, state: str) -> None:
    name = "bolt/ground_truth/bent/001_mask.png"
    if state == "broken":
        (place / name).write_bytes(b"\x89PNG broken")
        reason = "cannot be read as an image"
    else:
        _save(place / name, _mask(1).T)
        reason = "is 24 pixels high and 20 wide; expected 20 and 24, as its image " + BENT
    with pytest.raises(UnreadableImage) as caught:
        _load(place)
    assert str(caught.value).startswith(f"{place / name} {reason}")
    assert "unreadable: skip" in str(caught.value)
    loaded = _load(place, unreadable="skip")
    assert loaded.skipped == (name,)
    assert _present(loaded)[:5] == [True, True, True, False, True]
    (place / name).unlink()
    assert _load(place).fingerprint == loaded.fingerprint


def test_nothing_is_decoded_before_it_is_asked_for(place: Path) -> None:
    loaded = _load(place)
    seen: list[Any] = []

    def convert(images: Any, *, image_size: int, channels: int) -> Tensor:
        seen.append(images)
        return torch.zeros(len(images), channels, image_size, image_size)

    one_class(loaded, "cap", image_size=32, channels=3, convert=convert)
    parts_used = (["train/good"] * 3, ["test/good"] * 2 + ["test/hole"] * 2)
    for images, parts in zip(seen, parts_used, strict=True):
        assert isinstance(images, ImageFiles)
        assert [str(Path(file.name).parent) for file in images.files] == [f"cap/{p}" for p in parts]
    assert loaded.masks is not None
    kinds = [type(source) for source in loaded.masks.sources]
    assert kinds[:4] == [tuple, tuple, ImageFile, ImageFile]


@pytest.mark.parametrize("name", [f"{HOLE}/000.png", "cap/ground_truth/hole/000_mask.png"])
def test_a_file_that_changes_after_loading_is_noticed(place: Path, name: str) -> None:
    loaded = _load(place)
    _set_pixel(place / name)
    with pytest.raises(DataError, match=f"{name} changed while it was in use"):
        _task(loaded, "cap")


@pytest.mark.parametrize("alone", [False, True])
def test_a_loaded_set_travels(place: Path, alone: bool) -> None:
    loaded = _load(place / "cap" if alone else place)
    content = pickle.dumps(loaded)
    # References, not pixels.
    assert len(content) < 15 * HEIGHT * WIDTH * 3
    arrived = pickle.loads(content)
    assert arrived.name == loaded.name
    there, here = _task(arrived, "cap"), _task(loaded, "cap")
    assert torch.equal(there.test, here.test)
    assert there.masks is not None
    assert here.masks is not None
    assert torch.equal(there.masks, here.masks)
    assert there.fingerprint == here.fingerprint


@pytest.fixture
def official(tmp_path: Path) -> Path:
    """Two of the fifteen categories, where the official archive's folder is unpacked."""
    for seed, name in enumerate(("screw", "bottle")):
        _write_category(tmp_path / "mvtec_anomaly_detection" / name, {"broken": 2}, seed)
    return tmp_path


@pytest.mark.parametrize("folder", ["mvtec", "mvtec_anomaly_detection"])
def test_the_official_tree_is_found_under_either_name(official: Path, folder: str) -> None:
    (official / "mvtec_anomaly_detection").rename(official / folder)
    loaded = load("mvtec", official, LoadOptions(classes=("bottle", "screw")))
    assert loaded.row is DATASETS["mvtec"]
    assert loaded.name == "mvtec"
    assert loaded.train.labels.tolist() == [0, 0, 0, 9, 9, 9]
    assert loaded.class_fingerprints is not None
    assert list(loaded.class_fingerprints) == ["bottle", "screw"]
    assert _task(loaded, "screw").labels.tolist() == [0, 0, 1, 1]
    other = _load(official / folder / "screw")
    assert other.fingerprint_of("screw") == loaded.fingerprint_of("screw")
    assert pickle.loads(pickle.dumps(loaded)).train.images[3].shape == (3, HEIGHT, WIDTH)


def test_the_short_name_comes_first(official: Path) -> None:
    _write_category(official / "mvtec/bottle", {"broken": 2}, seed=7)
    loaded = load("mvtec", official, LoadOptions(classes=("bottle",)))
    first = read_image(official / "mvtec/bottle/train/good/000.png")
    assert torch.equal(loaded.train.images[0], first)


@pytest.mark.parametrize("download", [False, True])
def test_a_missing_official_tree_says_what_to_put_where(tmp_path: Path, download: bool) -> None:
    with pytest.raises(DatasetMissing) as caught:
        load("mvtec", tmp_path, LoadOptions(download=download))
    first, *drawing = str(caught.value).splitlines()
    assert first == (
        f"mvtec: no folder mvtec or mvtec_anomaly_detection in {tmp_path}. It is not downloaded, "
        "since its licence has to be accepted: get it from "
        "https://www.mvtec.com/company/research/datasets/mvtec-ad and unpack it, so that there is "
        "a tree like this:"
    )
    assert drawing[0] == str(tmp_path / "mvtec")
    assert list(tmp_path.iterdir()) == []


def test_missing_official_categories_are_named(official: Path) -> None:
    with pytest.raises(DatasetMissing) as caught:
        load("mvtec", official, LoadOptions(classes=("cable", "bottle", "wood")))
    tree = official / "mvtec_anomaly_detection"
    assert str(caught.value).startswith(f"mvtec: no folder cable, wood in {tree}. It is not")
    assert "mvtec-ad and unpack it" in str(caught.value)


# What is said of the files


def _notes(place: Path, **options: Any) -> list[str]:
    return [note.replace(f"{place}/", "") for note in _load(place, **options).notes]


def test_nothing_is_said_of_a_tree_as_expected(place: Path) -> None:
    assert _notes(place) == []
    shutil.rmtree(place / "cap/ground_truth")
    assert _notes(place) == []


def test_masks_that_mark_nothing_count_as_missing_and_are_said(place: Path) -> None:
    _save(place / "bolt/ground_truth/cut/001_mask.png", np.zeros((HEIGHT, WIDTH), dtype=np.uint8))
    loaded = _load(place)
    assert list(loaded.notes) == [
        "bolt: the masks of 1 of 5 images with a defect mark nothing and count as missing, the "
        "first is bolt/ground_truth/cut/001_mask.png; expected: not black (0) where the defect is"
    ]
    assert _present(loaded)[:7] == [True, True, True, True, True, False, True]
    (place / "bolt/ground_truth/cut/001_mask.png").unlink()
    assert _load(place).fingerprint == loaded.fingerprint


@pytest.mark.parametrize("name", ["000.png", "000_seg.png", "000_mask.npy", "0_mask.png"])
def test_mask_files_that_match_no_image_are_said(place: Path, name: str) -> None:
    truth = place / "cap/ground_truth/hole"
    (truth / "000_mask.png").rename(truth / name)
    assert _notes(place) == [
        "cap: 1 of 2 images with a defect have no mask, the first is cap/test/hole/000.png; "
        "expected cap/ground_truth/hole/000_mask.png",
        "cap: 1 files in ground_truth belong to no image, the first is "
        f"cap/ground_truth/hole/{name}; "
        "expected ground_truth/<defect>/<name>_mask.png for test/<defect>/<name>.png",
    ]


def test_masks_in_another_folder_are_said(place: Path) -> None:
    (place / "cap/ground_truth/hole").rename(place / "cap/ground_truth/holes")
    assert [note.split(";")[0] for note in _notes(place)] == [
        "cap: 2 of 2 images with a defect have no mask, the first is cap/test/hole/000.png",
        "cap: 2 files in ground_truth belong to no image, the first is "
        "cap/ground_truth/holes/000_mask.png",
    ]
    (place / "cap/ground_truth").rename(place / "cap/masks")
    assert _notes(place) == [
        "2 images in cap/masks/holes are not used, the first is cap/masks/holes/000_mask.png; "
        "expected folders are train/good, test/good, test/<defect> and ground_truth/<defect>"
    ]


def test_masks_of_good_images_need_not_be_said(place: Path) -> None:
    _save(place / "cap/ground_truth/good/000_mask.png", np.zeros((HEIGHT, WIDTH), dtype=np.uint8))
    assert _notes(place) == []


def test_images_elsewhere_in_a_category_are_said(place: Path) -> None:
    for folder in "abcdefg":
        _save(place / f"cap/train/{folder}/0.png", _mask(0))
    notes = _notes(place)
    assert len(notes) == 6
    assert notes[0].startswith("1 images in cap/train/a are not used, the first is cap/train/a/0.p")
    assert notes[-1] == "so are images in 2 more folders"


def test_a_small_defect_is_not_lost_in_resizing(place: Path) -> None:
    mask = np.zeros((HEIGHT, WIDTH), dtype=np.uint8)
    mask[3, 7] = 1
    _save(place / "cap/ground_truth/hole/000_mask.png", mask)
    data = _task(_load(place), "cap", image_size=4)
    assert data.masks is not None
    assert torch.nonzero(data.masks[2]).tolist() == [[0, 1]]


# Depth


def test_the_bits_in_use_are_the_training_images_of_the_category(place: Path) -> None:
    for number in range(3):
        values = np.full((HEIGHT, WIDTH), 4000 + number, dtype=np.uint16)
        values[0, 0] = 5
        _save(place / f"cap/train/good/{number:03}.png", values)
    for name, value in {"good/000": 2047, "good/001": 9, "hole/000": 9, "hole/001": 9000}.items():
        values = np.full((HEIGHT, WIDTH), value, dtype=np.uint16)
        _save(place / f"cap/test/{name}.png", values)
    loaded = _load(place)
    assert (loaded.depth_of("cap"), loaded.depth_of("bolt")) == (12, None)
    assert loaded.notes == (
        "cap: of 16-bit images 12 bits are in use (training images reach 4002, single pixels "
        "apart): 0 to 4095 is read as black to white",
        "cap: 1 of 4 test images have values above 4095, the most that 12 bits hold, and are white "
        "there; the first is cap/test/hole/001.png",
    )
    data = _task(loaded, "cap")
    assert data.test[0, 0, 4, 4].item() == pytest.approx(2 * 127 / 255 - 1, rel=1e-4)
    assert data.test[3].min().item() == pytest.approx(1)
    as_trained = _load(place, depth=14)
    assert as_trained.depth_of("cap") == 14
    assert len(as_trained.notes) == 1


def _deepen(place: Path, *highest: int, size: tuple[int, int] = (HEIGHT, WIDTH)) -> None:
    """Images of 16 bits: training images with values up to each of these, test images to 200."""
    names = [f"train/good/{number:03}" for number in range(len(highest))]
    names += ["test/good/000", "test/good/001", "test/hole/000", "test/hole/001"]
    for name, most in zip(names, [*highest, 200, 200, 200, 200], strict=True):
        values = np.random.default_rng(most).integers(0, most + 1, size)
        values[0, :2] = 0, most
        _save(place / f"cap/{name}.png", values.astype(np.uint16))


def test_a_hot_pixel_does_not_make_the_others_black(place: Path) -> None:
    _deepen(place, 4000, 4000, 4000)
    for number in range(3):
        values = np.random.default_rng(number).integers(0, 4001, (40, 50)).astype(np.uint16)
        values[7, 7] = 65535
        _save(place / f"cap/train/good/{number:03}.png", values)
    loaded = _load(place)
    assert loaded.depth_of("cap") == 12
    (note,) = loaded.notes
    assert note.startswith("cap: of 16-bit images 12 bits are in use (training images reach ")
    assert _task(loaded, "cap").train.mean().item() == pytest.approx(0, abs=0.05)


def test_one_bright_image_among_dark_ones_is_said(place: Path) -> None:
    _deepen(place, 65535, 200, 200)
    notes = _notes(place)
    assert notes == [
        "cap: half of the training images or more are nearly one grey, such as "
        "cap/train/good/001.png with values from 0 to 1 of 0 to 255; were they saved with too few "
        "bits, or is one of the others broken?"
    ]


@pytest.mark.parametrize("deep", ["train", "test"])
def test_images_of_8_and_of_16_bits_in_one_category_are_said(place: Path, deep: str) -> None:
    values = np.random.default_rng(1).integers(0, 4001, (HEIGHT, WIDTH)).astype(np.uint16)
    _save(place / f"cap/{deep}/good/001.png", values)
    depth = 12 if deep == "train" else 16
    loaded = _load(place)
    assert loaded.depth_of("cap") == (12 if deep == "train" else None)
    assert (
        f"cap: 1 of 7 images have 16 bits a sample, where 0 to {2**depth - 1} is read as black to "
        f"white, and the others 8, where it is 0 to 255; the first is cap/{deep}/good/001.png"
    ) in loaded.notes


def test_training_images_of_nearly_one_grey_are_said(place: Path) -> None:
    for number in range(3):
        values = np.random.default_rng(number).integers(0, 4, (HEIGHT, WIDTH), dtype=np.uint8)
        _save(place / f"cap/train/good/{number:03}.png", values)
    (note,) = _notes(place)
    assert note.startswith(
        "cap: half of the training images or more are nearly one grey, such as "
        "cap/train/good/000.png with values from 0 to 3"
    )


def test_too_large_an_image_is_skipped_or_stops(place: Path) -> None:
    with pytest.raises(UnreadableImage, match="max_megapixels"):
        _load(place, max_megapixels=1e-4)
    with pytest.raises(DataError, match="none of the 3 images"):
        _load(place, max_megapixels=1e-4, unreadable="skip")


def test_categories_with_names_of_any_kind_stay_apart(tmp_path: Path) -> None:
    names = ["螺丝", "螺母", "screw [m4]", os.fsdecode(b"caf\xe9"), "caf\\xe9", "a\nb", "$x_{$"]
    for seed, name in enumerate(names):
        _write_category(tmp_path / name, {"broken": 2}, seed)
    loaded = load(f"mvtec:{tmp_path}", Path("unused"))
    assert len(loaded.row.classes) == len(names)
    tasks = {key: _task(loaded, key) for key in loaded.row.classes}
    assert len({task.fingerprint for task in tasks.values()}) == len(names)
    for name in names:
        key = printable(name)
        assert key in loaded.row.classes
        key.encode()
        assert key.isprintable()
        assert tasks[key].names == tuple(
            f"{name}/test/{part}/{n:03}.png" for part in ("good", "broken") for n in range(2)
        )
        alone = load(f"mvtec:{tmp_path}", Path("unused"), LoadOptions(classes=(key,)))
        assert alone.fingerprint_of(key) == tasks[key].fingerprint
