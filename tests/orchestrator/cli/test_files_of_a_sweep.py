"""What a sweep says of people's files before anything is trained, in a dry run too."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image

pytestmark = pytest.mark.filterwarnings("ignore:The ..noload.. loader strategy is deprecated")


def save(path: Path, values: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(values).save(path)


@pytest.fixture
def noise() -> Callable[..., np.ndarray]:
    rng = np.random.default_rng(0)
    return lambda high=256, dtype=np.uint8: rng.integers(0, high, (16, 16)).astype(dtype)


@pytest.fixture
def parts(tmp_path: Path, noise: Callable[..., np.ndarray]) -> Path:
    """A folder dataset: three images to learn from, two of each kind to test."""
    for part, count in (("train/normal", 3), ("test/normal", 2), ("test/novel", 2)):
        for number in range(count):
            save(tmp_path / "parts" / part / f"{number}.png", noise())
    return tmp_path / "parts"


@pytest.fixture
def file(tmp_path: Path, parts: Path) -> Path:
    path = tmp_path / "a.yaml"
    raw = {
        "name": "a",
        "datasets": [f"folder:{parts}"],
        "baselines": [],
        "structures": ["alone"],
        "scores": ["paper"],
    }
    path.write_text(yaml.safe_dump(raw))
    return path


Job = Callable[..., Any]


@pytest.fixture(params=["dry run", "run"])
def refused(request: pytest.FixtureRequest, kd: Job, file: Path) -> Callable[..., str]:
    """Runs the sweep with settings overridden, which it refuses to start; returns what it says."""

    def run(*settings: str) -> str:
        overrides = [part for setting in settings for part in ("--set", setting)]
        dry = ["--dry-run"] if request.param == "dry run" else []
        ended = kd("sweep", file, *overrides, *dry)
        assert (ended.exit_code, ended.stdout) == (2, "")
        return str(ended.stderr)

    return run


def test_a_sound_tree_is_planned_without_a_word(kd: Job, file: Path) -> None:
    ended = kd("sweep", file, "--dry-run", "--json")
    assert (ended.exit_code, ended.answer["candidates"]) == (0, 1)
    assert "warning" not in ended.stderr


@pytest.mark.parametrize("kind", ["novel", "normal"])
def test_a_single_test_image_of_a_kind_is_found_before_anything_starts(
    refused: Callable[..., str], parts: Path, kind: str
) -> None:
    (parts / f"test/{kind}/1.png").unlink()
    assert f"folder:{parts}, normal class normal: 1 {kind} test images; expected at l" in refused()


def test_training_images_of_one_colour_are_nothing_to_learn(
    refused: Callable[..., str], parts: Path
) -> None:
    for number in range(3):
        save(parts / f"train/normal/{number}.png", np.full((8, 8), 90 * number, dtype=np.uint8))
    assert "each of the 3 training images is of one colour throughout" in refused()


def test_more_workers_than_images_are_found_before_anything_starts(
    refused: Callable[..., str],
) -> None:
    said = refused("resources.workers=4")
    assert "normal class normal: 4 workers cannot share batches of 3 images" in said


def test_an_image_over_the_limit_names_the_setting_that_lifts_it(
    refused: Callable[..., str], kd: Job, file: Path
) -> None:
    assert "max_megapixels" in refused("max_megapixels=0.0001")
    assert kd("sweep", file, "--dry-run", "--set", "max_megapixels=0.001").exit_code == 0


def test_classes_that_cannot_be_trained_are_told_all_at_once(
    kd: Job, file: Path, tmp_path: Path, noise: Callable[..., np.ndarray]
) -> None:
    for name, novel in (("01", 1), ("02", 2), ("03", 1)):
        for part, count in (("train/good", 2), ("test/good", 2), ("test/dent", novel)):
            for number in range(count):
                save(tmp_path / "tree" / name / part / f"{number}.png", noise())
    tree = f"datasets=['mvtec:{tmp_path}/tree']"
    ended = kd("sweep", file, "--dry-run", "--set", tree)
    assert ended.exit_code == 2
    assert "normal class 01: 1 novel" in ended.stderr
    assert "normal class 03: 1 novel" in ended.stderr
    assert "leave such classes out of normal_classes" in ended.stderr
    ended = kd("sweep", file, "--dry-run", "--set", tree, "--set", "normal_classes=[02]", "--json")
    assert (ended.exit_code, ended.answer["candidates"]) == (0, 1)
    ended = kd("sweep", file, "--dry-run", "--set", tree, "--set", "normal_classes=[2]")
    assert ended.exit_code == 2
    assert "class 2 may mean 02, or the one with index 2; put the name in quotes" in ended.stderr


def test_what_looks_wrong_is_said_with_numbers_and_an_example(
    kd: Job, file: Path, parts: Path, noise: Callable[..., np.ndarray]
) -> None:
    for number in range(3):
        save(parts / f"train/normal/{number}.png", noise(4096, np.uint16))
    save(parts / "test/novel/1.png", noise(60000, np.uint16))
    save(parts / "test/defect" / os.fsdecode(b"\xff.png"), noise())
    ended = kd("sweep", file, "--dry-run")
    assert ended.exit_code == 0
    lines = [line for line in ended.stderr.splitlines() if line.startswith("warning: ")]
    assert [line.removeprefix(f"warning: folder:{parts}: ") for line in lines] == [
        r"1 images in test/defect are not used, the first is test/defect/\xff.png; expected "
        "folders are train/normal, test/normal, test/novel",
        "images: of 16-bit images 12 bits are in use (training images reach "
        f"{highest(parts)}, single pixels apart): 0 to 4095 is read as black to white",
        "images: 4 of 7 images have 16 bits a sample, where 0 to 4095 is read as black to white, "
        "and the others 8, where it is 0 to 255; the first is train/normal/0.png",
        "images: 1 of 4 test images have values above 4095, the most that 12 bits hold, and are "
        "white there; the first is test/novel/1.png",
    ]


def highest(parts: Path) -> int:
    return max(int(np.asarray(Image.open(p)).max()) for p in parts.glob("train/normal/*.png"))
