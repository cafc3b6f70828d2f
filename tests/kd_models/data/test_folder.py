import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import pytest
import torch

from kd_models.data import (
    DataError,
    ImageFiles,
    ImageSet,
    LoadOptions,
    UnreadableImage,
    load,
    one_class,
    read_image,
)

Save = Callable[..., Path]


def _load(tree: Path, unreadable: Literal["stop", "skip"] = "stop") -> ImageSet:
    return load(f"folder:{tree}", Path("unused"), LoadOptions(unreadable=unreadable))


def _levels(image_set: ImageSet) -> list[int]:
    return [int(image[0, 0, 0]) for image in image_set.train.images]


def test_the_tree_s_parts_and_labels(tree: Path) -> None:
    loaded = _load(tree)
    assert loaded.name == f"folder:{tree}"
    assert _levels(loaded) == [0, 30, 60]
    assert loaded.train.labels.tolist() == [0, 0, 0]
    assert [int(image.max()) for image in loaded.test.images] == [90, 120, 150, 180]
    assert loaded.test.labels.tolist() == [0, 0, 1, 1]
    assert loaded.test.labels.dtype == torch.int64
    assert loaded.test_names == (
        "test/normal/d.png",
        "test/normal/e.png",
        "test/novel/f.png",
        "test/novel/g.png",
    )
    assert loaded.skipped == ()
    assert not Path("unused").exists()


def test_sub_folders_sorted_hidden_and_other_files_ignored(tree: Path, save: Save) -> None:
    plain = _load(tree).fingerprint
    for ignored in (".hidden.png", ".cache/x.png", "._a.png"):
        save(tree / "train/normal" / ignored, 255)
    (tree / "train/normal/notes.txt").write_text("not an image")
    (tree / "train/normal/Thumbs.db").write_bytes(b"x")
    assert _load(tree).fingerprint == plain
    save(tree / "train/normal/Z/first.PNG", 1)
    save(tree / "train/normal/aa/deep/er.bmp", 2)
    # By the whole path, in code-point order: Z before a, a.png before aa/.
    assert _levels(_load(tree)) == [1, 0, 2, 30, 60]


@pytest.mark.parametrize(
    "suffix", ["jpg", "JPEG", "bmp", "webp", "tif", "tiff", "gif", "pgm", "ppm"]
)
def test_common_formats_are_found(tree: Path, save: Save, suffix: str) -> None:
    level = 99 if suffix == "pgm" else (10, 200, 30)
    path = save(tree / f"test/novel/h.{suffix}", level, size=(5, 3))
    loaded = _load(tree)
    assert loaded.test_names is not None
    assert loaded.test_names[-1] == f"test/novel/h.{suffix}"
    assert torch.equal(loaded.test.images[4], read_image(path))
    assert loaded.test.images[4].shape == (1 if suffix == "pgm" else 3, 3, 5)


def test_the_same_tree_elsewhere_has_the_same_fingerprint(tree: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(tree, tmp_path / "other" / "place")
    assert _load(copy).fingerprint == _load(tree).fingerprint


def _repaint(tree: Path, save: Save) -> None:
    save(tree / "test/novel/g.png", 181)


def _rename(tree: Path, save: Save) -> None:
    (tree / "test/novel/g.png").rename(tree / "test/novel/h.png")


def _relabel(tree: Path, save: Save) -> None:
    save(tree / "test/normal/g.png", 180)
    (tree / "test/novel/g.png").unlink()


def _remove(tree: Path, save: Save) -> None:
    (tree / "train/normal/c.png").unlink()


@pytest.mark.parametrize("change", [_repaint, _rename, _relabel, _remove])
def test_any_change_changes_the_fingerprint(
    tree: Path, save: Save, change: Callable[[Path, Save], None]
) -> None:
    before = _load(tree).fingerprint
    change(tree, save)
    assert _load(tree).fingerprint != before


@pytest.mark.parametrize("part", ["train/normal", "test/normal", "test/novel"])
@pytest.mark.parametrize("state", ["missing", "empty"])
def test_a_missing_or_empty_part_is_named_and_the_tree_drawn(
    tree: Path, part: str, state: str
) -> None:
    shutil.rmtree(tree / part)
    if state == "empty":
        (tree / part).mkdir()
        (tree / part / "notes.txt").touch()
    with pytest.raises(DataError) as caught:
        _load(tree)
    problem, *drawing = str(caught.value).splitlines()
    what = "is not there" if state == "missing" else "has no image in it"
    assert problem.startswith(f"{tree / part} {what}; ")
    assert drawing[0] == str(tree)
    words = [line.strip("│├└─ ").split()[0] for line in drawing[1:]]
    assert words == ["train", "normal", "test", "normal", "novel"]


def test_a_missing_tree_and_a_file_in_its_place_are_told_apart(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=f"^{tmp_path / 'none'} is not there;"):
        _load(tmp_path / "none")
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match=f"^{tmp_path / 'file'} is no folder;"):
        _load(tmp_path / "file")


def test_a_relative_path_is_taken_from_the_current_folder(
    tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tree.parent)
    relative = load("folder:parts", Path())
    assert relative.name == f"folder:{tree}"
    monkeypatch.chdir("/")
    assert _levels(relative) == [0, 30, 60]


def test_an_unreadable_image_stops_the_loading_by_name(tree: Path) -> None:
    (tree / "test/normal/bad.png").write_bytes(b"\x89PNG broken")
    with pytest.raises(UnreadableImage) as caught:
        _load(tree)
    assert str(tree / "test/normal/bad.png") in str(caught.value)
    assert "unreadable: skip" in str(caught.value)


def test_an_unreadable_image_is_skipped_and_noted(tree: Path) -> None:
    whole = _load(tree)
    for name in ("train/normal/bad.png", "test/novel/0.jpg"):
        (tree / name).write_bytes(b"broken")
    loaded = _load(tree, unreadable="skip")
    assert loaded.skipped == ("train/normal/bad.png", "test/novel/0.jpg")
    assert loaded.test_names == whole.test_names
    # The images that are used are the same, and so is the dataset.
    assert loaded.fingerprint == whole.fingerprint


def test_nothing_but_unreadable_images_is_no_dataset(tree: Path) -> None:
    for path in (tree / "test/novel").iterdir():
        path.write_bytes(b"broken")
    with pytest.raises(
        DataError, match=r"none of the 2 images in .*/test/novel can be read.*f\.png"
    ):
        _load(tree, unreadable="skip")


def test_a_file_that_changes_after_loading_is_noticed(tree: Path, save: Save) -> None:
    loaded = _load(tree)
    save(tree / "train/normal/b.png", 31)
    with pytest.raises(DataError, match=r"b\.png changed while it was in use"):
        one_class(loaded, "normal", image_size=4, channels=3)


def test_linked_folders_are_followed_and_circles_end(
    tree: Path, tmp_path: Path, save: Save
) -> None:
    save(tmp_path / "elsewhere/z.png", 7)
    (tree / "train/normal/linked").symlink_to(tmp_path / "elsewhere")
    (tree / "train/normal/up").symlink_to(tree / "train/normal")
    assert _levels(_load(tree)) == [0, 30, 60, 7]


def test_images_slice_like_a_list(tree: Path) -> None:
    images = _load(tree).test.images
    assert [int(image.max()) for image in images[1:3]] == [120, 150]
    assert int(images[-1].max()) == 180


def test_images_are_taken_by_index_without_being_decoded(tree: Path) -> None:
    images = _load(tree).test.images
    assert isinstance(images, ImageFiles)
    (tree / "test/normal/d.png").unlink()
    taken = images.take([3, 0])
    assert isinstance(taken, ImageFiles)
    assert [file.name for file in taken.files] == ["test/novel/g.png", "test/normal/d.png"]
    assert int(taken[0].max()) == 180
    with pytest.raises(UnreadableImage, match=r"d\.png cannot be read"):
        taken[1]


def test_a_folder_as_a_task(tree: Path) -> None:
    data = one_class(_load(tree), "normal", image_size=8, channels=3)
    assert data.train.shape == (3, 3, 8, 8)
    assert data.test.shape == (4, 3, 8, 8)
    assert data.novel.tolist() == [False, False, True, True]
    assert data.names == _load(tree).test_names
    torch.testing.assert_close(data.test[3], torch.full((3, 8, 8), 180 / 127.5 - 1))
