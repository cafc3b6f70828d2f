"""jobs/score.py --heatmaps: a picture for every image, and how well masks are found."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from packages import measured
from PIL import Image

from kd_models.data import load, one_class
from kd_models.evaluation.localisation import heat_maps, localisation_metrics
from kd_models.methods.eca_mkdad.scores import FeatureDetector, StudentConfig
from kd_models.methods.vgg16_weights import read_teacher
from kd_models.package import Package, PackageConfig, Preprocessing


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Any:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def tree(planted: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("tree")
    planted(root, train=2, test=2, size=32)
    return root


@pytest.fixture(scope="module")
def eca_student(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The package of a student of ECA_MKDAD that nobody trained, with a teacher of chance."""
    teacher = read_teacher("random", tmp_path_factory.mktemp("nothing"))
    own = StudentConfig(placement="eca")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        weights = own.network().state_dict()
    config = PackageConfig(
        axes={"placement": "eca"},
        dataset="mvtec:/elsewhere",
        normal_class="cloth",
        normal_class_name="cloth",
        seed=0,
        stage_key="0" * 64,
        fingerprint="0",
        detector=FeatureDetector(
            student=own, layers=(3, 4, 5), lambda_=0.1, teacher=teacher.sha256
        ),
        preprocessing=Preprocessing(image_size=32, channels=3),
        threshold=0.0,
        measured=measured(),
    )
    folder = tmp_path_factory.mktemp("eca") / "package"
    Package(config, weights, teacher.state).save(folder)
    return folder


def pictures(folder: Path) -> dict[str, Image.Image]:
    found = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            with Image.open(path) as image:
                assert image.format == "PNG"
                found[str(path.relative_to(folder))] = image.copy()
    return found


def test_every_image_of_a_folder_has_a_picture(
    kd: Callable[..., Any], eca_student: Path, images: Path, tmp_path: Path
) -> None:
    place = tmp_path / "new" / "maps"
    plain = kd("score", eca_student, images, "--json").answer
    ended = kd("score", eca_student, images, "--heatmaps", place, "--json")
    assert ended.exit_code == 0
    assert ended.answer == plain
    found = pictures(place)
    assert set(found) == {"a.png.png", "b.jpg.png", "more/c.bmp.png"}
    for picture in found.values():
        assert min(picture.size) >= 256
        assert picture.size[0] % 32 == 0
        assert picture.mode == "RGB"
        assert len(picture.getcolors(1 << 20) or []) > 10


def test_one_image_has_one_picture(
    kd: Callable[..., Any], eca_student: Path, images: Path, tmp_path: Path
) -> None:
    ended = kd("score", eca_student, images / "more/c.bmp", "--heatmaps", tmp_path / "maps")
    assert ended.exit_code == 0
    assert set(pictures(tmp_path / "maps")) == {"c.bmp.png"}


def test_a_dataset_with_masks_is_judged_by_its_pixels_too(
    kd: Callable[..., Any], eca_student: Path, tree: Path, tmp_path: Path
) -> None:
    name = f"mvtec:{tree}"
    plain = kd("score", eca_student, name, "--json").answer
    assert not plain.keys() & {"pixel_auroc", "pro"}
    ended = kd("score", eca_student, name, "--heatmaps", tmp_path / "maps", "--json")
    assert ended.exit_code == 0
    answer = ended.answer
    data = one_class(load(name, tmp_path), "cloth", image_size=32, channels=3)
    assert data.masks is not None
    assert data.masked is not None
    maps = heat_maps(Package.load(eca_student).scorer(), data.test).numpy()
    expected = localisation_metrics(maps[data.masked.numpy()], data.masks[data.masked])
    assert expected.keys() == {"pixel_auroc", "pro"}
    assert {metric: answer[metric] for metric in expected} == pytest.approx(expected, abs=1e-6)
    assert {k: v for k, v in answer.items() if k not in expected} == plain
    kinds = ("good", "cut", "hole", "twist")
    found = pictures(tmp_path / "maps")
    assert set(found) == {f"cloth/test/{k}/{n:03}.png.png" for k in kinds for n in range(2)}
    assert all(min(picture.size) >= 256 for picture in found.values())


def test_for_a_person_the_metrics_are_words(
    kd: Callable[..., Any], eca_student: Path, tree: Path, tmp_path: Path
) -> None:
    ended = kd("score", eca_student, f"mvtec:{tree}", "--heatmaps", tmp_path / "maps")
    assert ended.exit_code == 0
    assert "pixel_auroc 0." in ended.stdout
    assert "pro 0." in ended.stdout


def test_a_student_of_p_kdgan_has_heat_maps_as_well(
    kd: Callable[..., Any], student: Path, images: Path, tmp_path: Path
) -> None:
    ended = kd("score", student, images, "--heatmaps", tmp_path / "maps")
    assert ended.exit_code == 0
    assert set(pictures(tmp_path / "maps")) == {"a.png.png", "b.jpg.png", "more/c.bmp.png"}


def test_a_file_in_place_of_the_folder_is_a_mistake(
    kd: Callable[..., Any], student: Path, images: Path, tmp_path: Path
) -> None:
    (tmp_path / "taken").write_text("mine")
    ended = kd("score", student, images, "--heatmaps", tmp_path / "taken")
    assert ended.exit_code == 2
    assert str(tmp_path / "taken") in ended.stderr
    assert (tmp_path / "taken").read_text() == "mine"
