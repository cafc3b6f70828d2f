"""jobs/score.py: an image, a folder, a dataset; and what cannot be scored."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from packages import sum_up
from PIL import Image

from kd_models.data import load, one_class, read_image, to_model_input
from kd_models.evaluation.metrics import auroc, rates
from kd_models.package import Package


@pytest.fixture
def student_at(student: Path, tmp_path: Path) -> Callable[[float], Path]:
    """The student with another threshold."""

    def make(threshold: float) -> Path:
        folder = tmp_path / f"student-{threshold}"
        shutil.copytree(student, folder)
        config = json.loads((folder / "config.json").read_text())
        config["threshold"] = threshold
        (folder / "config.json").write_text(json.dumps(config))
        sum_up(folder)
        return folder

    return make


def score_of(student: Path, path: Path) -> float:
    image = to_model_input([read_image(path)], image_size=32, channels=1)
    return float(Package.load(student).score(image)[0])


# Images


def test_one_image(kd: Callable[..., Any], student: Path, images: Path) -> None:
    path = images / "a.png"
    ended = kd("score", student, path, "--json")
    assert ended.exit_code == 0
    assert ended.answer == {
        "threshold": 0.0,
        "novel": 1,
        "normal": 0,
        "images": [
            {
                "image": str(path),
                "score": pytest.approx(score_of(student, path)),
                "verdict": "novel",
            }
        ],
    }


def test_a_folder_is_scored_with_its_sub_folders_in_order(
    kd: Callable[..., Any], student: Path, images: Path
) -> None:
    rows = kd("score", student, images, "--json").answer["images"]
    paths = [images / "a.png", images / "b.jpg", images / "more/c.bmp"]
    assert [row["image"] for row in rows] == [str(path) for path in paths]
    for row, path in zip(rows, paths, strict=True):
        assert row["score"] == pytest.approx(score_of(student, path))


def test_a_score_at_the_threshold_is_novel_and_one_below_is_normal(
    kd: Callable[..., Any],
    student: Path,
    student_at: Callable[[float], Path],
    images: Path,
) -> None:
    found = {
        row["image"]: row["score"]
        for row in kd("score", student, images, "--json").answer["images"]
    }
    middle = sorted(found.values())[1]
    answer = kd("score", student_at(middle), images, "--json").answer
    assert (answer["threshold"], answer["novel"], answer["normal"]) == (middle, 2, 1)
    verdicts = {row["image"]: row["verdict"] for row in answer["images"]}
    assert verdicts == {
        name: "novel" if score >= middle else "normal" for name, score in found.items()
    }


def test_for_a_person_there_is_a_line_for_every_image(
    kd: Callable[..., Any], student: Path, images: Path
) -> None:
    ended = kd("score", student, images)
    assert ended.exit_code == 0
    lines = ended.stdout.splitlines()
    assert len(lines) == 4
    assert all("novel" in line for line in lines)
    assert lines[3] == "3 novel, 0 normal at threshold 0"


def test_an_unreadable_image_stops_the_run_and_is_named(
    kd: Callable[..., Any], student: Path, images: Path
) -> None:
    (images / "b.jpg").write_bytes(b"\xff\xd8 cut short")
    ended = kd("score", student, images, "--json")
    assert ended.exit_code == 2
    assert ended.stdout == ""
    assert f"error: {images}/b.jpg cannot be read as an image" in ended.stderr


def test_an_unreadable_image_is_skipped_and_named_where_that_is_asked_for(
    kd: Callable[..., Any], student: Path, images: Path
) -> None:
    (images / "b.jpg").write_bytes(b"\xff\xd8 cut short")
    ended = kd("score", student, images, "--unreadable", "skip", "--json")
    assert ended.exit_code == 0
    names = [row["image"] for row in ended.answer["images"]]
    assert names == [str(images / "a.png"), str(images / "more/c.bmp")]
    assert f"warning: skipped: {images}/b.jpg cannot be read" in ended.stderr


def test_a_folder_of_unreadable_images_has_nothing_to_score(
    kd: Callable[..., Any], student: Path, tmp_path: Path
) -> None:
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad/x.png").write_bytes(b"?")
    ended = kd("score", student, tmp_path / "bad", "--unreadable", "skip")
    assert ended.exit_code == 2
    assert f"none of the 1 images in {tmp_path}/bad can be read" in ended.stderr


def test_a_folder_without_images(kd: Callable[..., Any], student: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    ended = kd("score", student, tmp_path / "empty")
    assert ended.exit_code == 2
    assert f"there is no image in {tmp_path}/empty" in ended.stderr


def test_unreadable_is_stop_or_skip(kd: Callable[..., Any], student: Path, images: Path) -> None:
    ended = kd("score", student, images, "--unreadable", "ignore")
    assert ended.exit_code == 2
    assert "--unreadable ignore: expected stop or skip" in ended.stderr


# Datasets


def test_a_dataset_is_scored_on_its_test_split_with_the_students_class(
    kd: Callable[..., Any],
    student: Path,
    student_at: Callable[[float], Path],
    tmp_path: Path,
) -> None:
    task = one_class(load("digits", tmp_path), "3", image_size=32, channels=1)
    scores = Package.load(student).score(task.test).double().numpy()
    threshold = float(sorted(scores)[len(scores) // 2])
    ended = kd("score", student_at(threshold), "digits", "--json")
    assert ended.exit_code == 0
    answer = ended.answer
    assert [row["image"] for row in answer["images"]] == [str(n) for n in range(len(scores))]
    assert [row["score"] for row in answer["images"]] == pytest.approx(scores.tolist())
    novel = task.novel.numpy()
    assert answer["auroc"] == pytest.approx(auroc(scores, novel), abs=1e-9)
    found = rates(scores, novel, threshold)
    for name in ("fpr", "fnr", "gmean"):
        assert answer[name] == pytest.approx(getattr(found, name)), name
    assert answer["novel"] + answer["normal"] == len(scores)


def test_a_folder_dataset_names_its_images_and_skips_where_asked(
    kd: Callable[..., Any], student: Path, tmp_path: Path
) -> None:
    config = json.loads((student / "config.json").read_text())
    config |= {"dataset": "folder:/elsewhere", "normal_class": "normal"}
    own = tmp_path / "own"
    shutil.copytree(student, own)
    (own / "config.json").write_text(json.dumps(config))
    sum_up(own)
    tree = tmp_path / "tree"
    for part in ("train/normal", "test/normal", "test/novel"):
        (tree / part).mkdir(parents=True)
        for n in range(2):
            level = 40 * n + 10 * len(part)
            Image.new("L", (8, 8), level).save(tree / part / f"{n}.png")
    (tree / "test/novel/bad.png").write_bytes(b"?")
    stopped = kd("score", own, f"folder:{tree}", "--json")
    assert stopped.exit_code == 2
    assert f"{tree}/test/novel/bad.png" in stopped.stderr
    ended = kd("score", own, f"folder:{tree}", "--unreadable", "skip", "--json")
    assert [row["image"] for row in ended.answer["images"]] == [
        "test/normal/0.png",
        "test/normal/1.png",
        "test/novel/0.png",
        "test/novel/1.png",
    ]


@pytest.mark.parametrize("name", ["digts", "nothing.png"])
def test_neither_image_nor_dataset(kd: Callable[..., Any], student: Path, name: str) -> None:
    ended = kd("score", student, name)
    assert ended.exit_code == 2
    assert f"no dataset '{name}'; expected one of digits, " in ended.stderr


# Packages


def test_a_folder_that_is_no_package(kd: Callable[..., Any], images: Path, tmp_path: Path) -> None:
    ended = kd("score", tmp_path, images)
    assert ended.exit_code == 2
    assert f"error: {tmp_path} is no detector's package: SHA256SUMS is missing" in ended.stderr
    assert "kd download makes one" in ended.stderr


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
def test_a_damaged_package(
    kd: Callable[..., Any], student: Path, images: Path, tmp_path: Path, name: str
) -> None:
    damaged = tmp_path / "damaged"
    shutil.copytree(student, damaged)
    (damaged / name).write_bytes((damaged / name).read_bytes()[:100])
    ended = kd("score", damaged, images)
    assert ended.exit_code == 2
    assert f"error: {damaged / name} was changed or is damaged" in ended.stderr


@pytest.mark.parametrize(
    ("depth", "line"),
    [
        (12, "1 images have values above 4095, the most that the 12 bits the student was trained"),
        (14, None),
        (None, "2 images have 16 bits a sample, and no image that the student was trained with"),
    ],
)
def test_images_of_more_bits_than_the_student_was_trained_with_are_said(
    kd: Callable[..., Any], student: Path, tmp_path: Path, depth: int | None, line: str | None
) -> None:
    package = Package.load(student)
    prepared = package.config.preprocessing.model_copy(update={"depth": depth})
    update = {"preprocessing": prepared, "dataset": "folder:/x", "normal_class": "normal"}
    config = package.config.model_copy(update=update)
    replace(package, config=config).save(tmp_path / "package")
    tree = tmp_path / "tree"
    for level in (4000, 5000):
        for part in ("train/normal", "test/normal", "test/novel"):
            (tree / part).mkdir(parents=True, exist_ok=True)
            values = np.full((8, 8), level, dtype=np.uint16)
            values[:4] = 9
            Image.fromarray(values).save(tree / part / f"{level}.png")
    ended = kd("score", tmp_path / "package", tree / "test/novel", "--json")
    assert ended.exit_code == 0
    assert (ended.stderr == "") if line is None else (line in ended.stderr)
    # As a dataset they are read alike, whatever its own training images have in use.
    of_dataset = kd("score", tmp_path / "package", f"folder:{tree}", "--json")
    scores = [[row["score"] for row in e.answer["images"]] for e in (ended, of_dataset)]
    assert scores[0] == pytest.approx(scores[1][2:])
    assert ("no image that the student was trained with" in of_dataset.stderr) == (depth is None)
