import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from huggingface_hub import ModelCard
from packages import measured, sum_up
from safetensors.torch import load_file, save_file
from torch import Tensor

from kd_models.methods.ganomaly.networks import NetworkConfig
from kd_models.methods.pkdgan.scores import GanDetector
from kd_models.methods.pkdgan.step import GanLearner
from kd_models.package import (
    CARD,
    WEIGHTS,
    OverSeeds,
    Package,
    PackageConfig,
    Preprocessing,
)
from kd_models.package.card import model_card
from kd_models.recipe import Recipe
from kd_models.training.epochs import train
from kd_models.world import World
from kd_score.detector import CONFIG, SUMS
from kd_score.errors import PackageError

DrawImages = Callable[..., Tensor]


DETECTOR = GanDetector(network=NetworkConfig(channels=1, widths=(1, 2, 4)), distance="mse")


def config(**changes: object) -> PackageConfig:
    settings: dict[str, object] = {
        "axes": {"structure": "p-kdgan-24", "student_widths": [1, 2, 4]},
        "dataset": "fmnist",
        "normal_class": "8",
        "normal_class_name": "Bag",
        "seed": 3,
        "stage_key": "0123abcd",
        "fingerprint": "4567",
        "detector": DETECTOR,
        "preprocessing": Preprocessing(image_size=32, channels=1),
        "threshold": 0.0123456,
        "measured": measured(
            auroc=0.91234,
            val_auroc=0.82346,
            test_auroc=0.73456,
            gmean=0.64567,
            fpr=0.15678,
            fnr=0.26789,
        ),
    }
    return PackageConfig(**(settings | changes))


@pytest.fixture
def learner(make_learner: Callable[..., GanLearner], draw_images: DrawImages) -> GanLearner:
    made = make_learner("alone")
    train(made, draw_images(8), Recipe(epochs=2, batch_size=4), seed=0)
    return made


@pytest.fixture
def package(learner: GanLearner) -> Package:
    return Package(config(), learner.networks["student.generator"].state_dict())


@pytest.fixture
def folder(package: Package, tmp_path: Path) -> Path:
    folder = tmp_path / "students" / "bag"
    package.save(folder)
    return folder


def rewrite(folder: Path, **changes: object) -> None:
    stored = json.loads((folder / CONFIG).read_text())
    (folder / CONFIG).write_text(json.dumps(stored | changes))
    sum_up(folder)


def test_a_loaded_package_is_the_saved_one(
    package: Package, folder: Path, draw_images: DrawImages
) -> None:
    loaded, images = Package.load(folder), draw_images(5, seed=3)
    assert loaded.config == package.config
    assert loaded.weights.keys() == package.weights.keys()
    assert torch.equal(loaded.score(images), package.score(images))


@pytest.mark.parametrize("distance", ["mse", "l2"])
def test_a_package_scores_as_what_it_was_made_of(
    distance: str, make_learner: Callable[..., GanLearner], draw_images: DrawImages
) -> None:
    learner, images = make_learner("alone", distance=distance), draw_images(6, seed=3)
    train(learner, draw_images(8), Recipe(epochs=2, batch_size=4), seed=0)
    weights = learner.networks["student.generator"].state_dict()
    package = Package(config(detector=DETECTOR.model_copy(update={"distance": distance})), weights)
    # A trained network lies in memory channels last, a loaded one does not: other rounding.
    torch.testing.assert_close(
        package.score(images), learner.score(images, World()), rtol=1e-4, atol=0
    )


def test_an_image_s_score_does_not_depend_on_its_batch(
    package: Package, draw_images: DrawImages
) -> None:
    images = draw_images(5, seed=3)
    together = package.score(images)
    alone = torch.cat([package.score(image[None]) for image in images])
    torch.testing.assert_close(alone, together, rtol=1e-4, atol=0)
    assert together.shape == (5,)
    assert not together.requires_grad


def test_per_image_normalisation_travels_too(
    make_learner: Callable[..., GanLearner], tmp_path: Path, draw_images: DrawImages
) -> None:
    learner, images = make_learner("alone", normalisation="per-image"), draw_images(3)
    network = NetworkConfig(channels=1, widths=(1, 2, 4), normalisation="per-image")
    weights = learner.networks["student.generator"].state_dict()
    Package(config(detector=GanDetector(network=network, distance="l2")), weights).save(tmp_path)
    assert torch.equal(Package.load(tmp_path).score(images), learner.score(images, World()))


def test_files_are_written_and_written_over(package: Package, folder: Path) -> None:
    assert sorted(path.name for path in folder.iterdir()) == sorted([WEIGHTS, CONFIG, CARD, SUMS])
    assert len({path.stat().st_mode for path in folder.iterdir()}) == 1  # readable all alike
    Package(config(seed=4), package.weights).save(folder)
    assert Package.load(folder).config.seed == 4


def test_a_missing_config_is_named(folder: Path) -> None:
    (folder / CONFIG).unlink()
    with pytest.raises(PackageError, match=r"config\.json is missing") as error:
        Package.load(folder)
    assert str(folder) in str(error.value)


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(PackageError, match="nowhere is no detector's package"):
        Package.load(tmp_path / "nowhere")


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b"null", b"{}", b"\xff\xfe\x00", b'{"format": 1']
)
def test_a_garbage_config_is_damage(folder: Path, content: bytes) -> None:
    (folder / CONFIG).write_bytes(content)
    sum_up(folder)
    with pytest.raises(PackageError, match="is damaged") as error:
        Package.load(folder)
    assert str(folder) in str(error.value)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"format": 2}, "format"),
        ({"treshold": 1.0}, "treshold"),
        ({"threshold": "high"}, "threshold"),
        ({"distance": "l1"}, "distance"),
        (
            {"detector": {"method": "pkdgan", "network": {"channels": 1, "widths": [1, 2]}}},
            "widths",
        ),
    ],
)
def test_a_config_s_bad_setting_is_named(
    folder: Path, changes: dict[str, object], named: str
) -> None:
    rewrite(folder, **changes)
    with pytest.raises(PackageError, match=named) as error:
        Package.load(folder)
    assert str(folder) in str(error.value)


@pytest.mark.parametrize("keep", [0, 4, 100, -1])
def test_truncated_weights_are_damage(folder: Path, keep: int) -> None:
    content = (folder / WEIGHTS).read_bytes()
    (folder / WEIGHTS).write_bytes(content[:keep])
    sum_up(folder)
    with pytest.raises(PackageError, match="is damaged") as error:
        Package.load(folder)
    assert str(folder) in str(error.value)


@pytest.mark.parametrize(
    ("network", "problem"),
    [
        ({"channels": 1, "widths": [2, 2, 4]}, "size mismatch"),
        ({"channels": 3, "widths": [1, 2, 4]}, "size mismatch"),
        ({"channels": 1, "widths": [1, 2, 4], "normalisation": "per-image"}, "Unexpected key"),
    ],
)
def test_weights_of_another_network_are_damage(
    folder: Path, network: dict[str, object], problem: str
) -> None:
    rewrite(folder, detector={"method": "pkdgan", "network": network, "distance": "mse"})
    with pytest.raises(PackageError, match=problem) as error:
        Package.load(folder)
    assert str(folder) in str(error.value)


def test_a_tensor_too_few_is_damage(folder: Path) -> None:
    weights = load_file(folder / WEIGHTS)
    weights.pop("decoder.layers.0.weight")
    save_file(weights, folder / WEIGHTS)
    sum_up(folder)
    with pytest.raises(PackageError, match=r"decoder\.layers\.0\.weight"):
        Package.load(folder)


def test_the_model_card_holds_the_numbers(folder: Path) -> None:
    card = (folder / CARD).read_text()
    assert card == model_card(config())
    figures = ("0.9123", "0.8235", "0.7346", "0.0123456", "0.6457", "0.1568", "0.2679")
    row = next(line for line in card.splitlines() if line.startswith("| 0."))
    assert [cell.strip() for cell in row.strip("|").split("|")] == list(figures)
    for fact in ("49,722", "76,416", "fmnist", "Bag", "p-kdgan-24", "1-2-4", "seed 3", "0123abcd"):
        assert fact in card
    assert "1 channel(s)" in card
    assert "32 x 32" in card


@pytest.mark.parametrize(
    ("protocol", "where"), [("holdout", "second half"), ("paper", "whole test split of")]
)
def test_the_model_card_says_where_the_rates_were_measured(protocol: str, where: str) -> None:
    measured = config().measured.model_copy(update={"protocol": protocol})
    card = " ".join(model_card(config(measured=measured)).split())
    assert f"measured on the {where}" in card
    assert f"Protocol {protocol}" in card


def test_missing_weights_are_named(folder: Path) -> None:
    (folder / WEIGHTS).unlink()
    with pytest.raises(PackageError, match=r"model\.safetensors is missing") as error:
        Package.load(folder)
    assert str(folder) in str(error.value)


@pytest.mark.parametrize("name", [WEIGHTS, CONFIG, CARD])
def test_a_changed_file_is_refused_by_name(folder: Path, name: str) -> None:
    content = bytearray((folder / name).read_bytes())
    content[-2] ^= 1
    (folder / name).write_bytes(content)
    with pytest.raises(PackageError, match=f"{name} was changed or is damaged"):
        Package.load(folder)


def test_the_hub_reads_the_model_card() -> None:
    over = OverSeeds(seeds=3, auroc_mean=0.9, auroc_spread=0.01, test_auroc_mean=0.8)
    data = ModelCard(model_card(config(over_seeds=over))).data
    assert data.license == "mit"
    assert data.tags == ["novelty-detection", "anomaly-detection", "pkdgan"]
    results = {one.metric_name: one for one in data.eval_results}
    assert {one.dataset_type for one in results.values()} == {"fmnist"}
    assert {one.metric_type for one in results.values()} == {"roc_auc"}
    assert results["AUROC (whole test split)"].metric_value == 0.91234
    assert results["AUROC (test half)"].metric_value == 0.73456
    assert results["AUROC (whole test split), mean of 3 seeds +- 0.0100"].metric_value == 0.9


@pytest.mark.parametrize(
    ("dataset", "licence", "words"),
    [
        ("digits", "cc-by-4.0", "under cc-by-4.0"),
        ("cifar10", "other", "under terms of their own"),
        ("folder:/data/parts", "other", "your own"),
    ],
)
def test_the_model_card_says_what_is_known_of_licences(
    dataset: str, licence: str, words: str
) -> None:
    text = model_card(config(dataset=dataset))
    assert ModelCard(text).data.license == licence
    assert words in text


@pytest.mark.parametrize("name", ["a: b", "#x", "---", "`", '"', "螺丝", "- y"])
def test_any_name_is_one_in_the_card_s_metadata(name: str) -> None:
    dataset = f"folder:/{name}"
    card = ModelCard(model_card(config(dataset=dataset, normal_class_name=name)))
    assert {one.dataset_type for one in card.data.eval_results} == {dataset}
