from collections.abc import Callable
from itertools import pairwise

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor, nn

from kd_models.methods.ganomaly.losses import Distance, per_image_distance
from kd_models.methods.ganomaly.networks import NetworkConfig
from kd_models.methods.pkdgan.step import GanLearner, StepConfig
from kd_models.methods.pkdgan.structures import STRUCTURES
from kd_models.recipe import Recipe
from kd_models.training.epochs import train
from kd_models.world import World

MakeLearner = Callable[..., GanLearner]
DrawImages = Callable[..., Tensor]
Weights = dict[str, dict[str, Tensor]]
WeightsOf = Callable[[dict[str, nn.Module]], Weights]
Changed = Callable[[Weights, Weights], set[str]]

TG, TD, SG, SD = (
    f"{r}.{n}" for r in ("teacher", "student") for n in ("generator", "discriminator")
)
TRAINED = {
    "teacher": {TG, TD},
    "alone": {SG, SD},
    "kdgan-1": {SG},
    "kdgan-2": {SG, SD},
    "kdgan-3": {TG, TD, SG},
    "kdgan-4": {TG, TD, SG, SD},
}
TWO_EPOCHS = Recipe(epochs=2, batch_size=4)


@pytest.mark.parametrize("structure", TRAINED)
def test_which_networks_a_structure_has_and_trains(
    structure: str, make_learner: MakeLearner
) -> None:
    learner = make_learner(structure)
    fixed = {TG} if structure in ("kdgan-1", "kdgan-2") else set()
    assert set(learner.trained) == TRAINED[structure]
    assert set(learner.networks) == TRAINED[structure] | fixed
    assert all(learner.networks[name] is network for name, network in learner.trained.items())


@pytest.mark.parametrize("structure", TRAINED)
def test_the_optimizers_hold_what_is_trained_once_each(
    structure: str, make_learner: MakeLearner
) -> None:
    learner = make_learner(structure)
    held = [id(p) for objective in learner.objectives() for p in objective.parameters()]
    assert len(held) == len(set(held))
    assert set(held) == {id(p) for n in learner.trained.values() for p in n.parameters()}


@pytest.mark.parametrize("structure", TRAINED)
def test_fit_changes_what_is_trained_and_nothing_else(
    structure: str,
    make_learner: MakeLearner,
    draw_images: DrawImages,
    weights_of: WeightsOf,
    changed: Changed,
) -> None:
    learner = make_learner(structure)
    before = weights_of(learner.networks)
    train(learner, draw_images(8), TWO_EPOCHS, seed=0)
    # A fixed teacher is bit-identical, running averages included.
    assert changed(before, weights_of(learner.networks)) == TRAINED[structure]


@pytest.mark.parametrize("structure", ["kdgan-3", "kdgan-4"])
def test_a_teacher_that_trains_is_a_copy(
    structure: str,
    make_learner: MakeLearner,
    draw_images: DrawImages,
    weights_of: WeightsOf,
    changed: Changed,
) -> None:
    stored = make_learner("teacher", seed=7)
    train(stored, draw_images(8), Recipe(epochs=1, batch_size=8), seed=7)
    weights = {name: network.state_dict() for name, network in stored.networks.items()}
    before = weights_of(stored.networks)

    learner = make_learner(structure)
    learner.load(weights)
    own = {name: network for name, network in learner.networks.items() if name in weights}
    assert changed(before, weights_of(own)) == set()
    train(learner, draw_images(8), TWO_EPOCHS, seed=0)
    assert changed(before, weights_of(own)) == {TG, TD}
    assert changed(before, weights_of(stored.networks)) == set()
    assert all(torch.equal(weights[n][k], before[n][k]) for n in weights for k in weights[n])


def test_load_ignores_unknown_networks_and_keeps_those_not_given(
    make_learner: MakeLearner, weights_of: WeightsOf, changed: Changed
) -> None:
    source, learner = make_learner("kdgan-4", seed=1), make_learner("kdgan-1", seed=2)
    before = weights_of(learner.networks)
    given = {name: network.state_dict() for name, network in source.networks.items()}
    learner.load({TG: given[TG], TD: given[TD], "student.critic": {}})
    assert changed(before, weights_of(learner.networks)) == {TG}
    assert torch.equal(learner.networks[TG].state_dict()["decoder.layers.0.weight"],
                       given[TG]["decoder.layers.0.weight"])  # fmt: skip


def test_load_rejects_weights_of_another_shape(make_learner: MakeLearner) -> None:
    narrow = NetworkConfig(channels=1, widths=(1, 1, 1)).generator()
    with pytest.raises(RuntimeError, match="size mismatch"):
        make_learner("alone").load({SG: narrow.state_dict()})


def test_a_seed_decides_the_initial_weights(
    make_learner: MakeLearner, weights_of: WeightsOf
) -> None:
    first, torch_seed = weights_of(make_learner("kdgan-4", seed=3).networks), torch.random.seed()
    torch.manual_seed(torch_seed)
    again = weights_of(make_learner("kdgan-4", seed=3).networks)
    other = weights_of(make_learner("kdgan-4", seed=4).networks)
    for name, weights in first.items():
        kernels = [key for key, tensor in weights.items() if tensor.dim() == 4]
        assert kernels
        assert all(torch.equal(weights[key], again[name][key]) for key in weights)
        assert not any(torch.equal(weights[key], other[name][key]) for key in kernels)


def test_making_a_learner_draws_no_random_number_of_its_caller(make_learner: MakeLearner) -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    make_learner("kdgan-4", seed=9)
    assert torch.equal(torch.rand(3), expected)


def test_teacher_and_student_draw_from_streams_of_their_own(make_learner: MakeLearner) -> None:
    same = NetworkConfig(channels=1, widths=(1, 2, 4))
    networks = make_learner("kdgan-4", teacher=same, student=same).networks
    kernels = [n.state_dict()["features.0.weight"] for n in (networks[TD], networks[SD])]
    kernels += [
        part.features[0].weight for n in (networks[TG], networks[SG])
        for part in (n.encoder, n.re_encoder)
    ]  # fmt: skip
    assert not any(torch.equal(a, b) for i, a in enumerate(kernels) for b in kernels[:i])


def test_the_student_s_initial_weights_do_not_depend_on_the_structure(
    make_learner: MakeLearner, weights_of: WeightsOf, changed: Changed
) -> None:
    for name, structures in (
        (SG, ("alone", "kdgan-1", "kdgan-2", "kdgan-3", "kdgan-4")),
        (SD, ("alone", "kdgan-2", "kdgan-4")),
        (TG, ("teacher", "kdgan-1", "kdgan-3")),
    ):
        made = [
            weights_of({name: make_learner(structure, seed=1).networks[name]})
            for structure in structures
        ]
        assert all(changed(a, b) == set() for a, b in pairwise(made))


@pytest.mark.parametrize("structure", ["kdgan-1", "kdgan-2"])
def test_fixed_targets_are_the_teacher_s_live_outputs_in_evaluation_mode(
    structure: str, make_learner: MakeLearner, draw_images: DrawImages
) -> None:
    images = draw_images(6)
    teacher = make_learner("teacher", seed=1)
    # Its running averages must have moved, or training and evaluation mode may look alike.
    train(teacher, draw_images(8, seed=1), TWO_EPOCHS, seed=1)
    learner = make_learner(structure)
    learner.load({name: network.state_dict() for name, network in teacher.networks.items()})
    live = learner.networks[TG]

    live.train()
    found = learner.targets(images, World())
    live.eval()
    with torch.no_grad():
        expected = live(images)
        in_training_mode = live.train()(images)
    assert list(found) == ["target/z1", "target/x_hat", "target/z2"]
    for target, output, other in zip(found.values(), expected, in_training_mode, strict=True):
        assert torch.equal(target, output)
        assert not target.requires_grad
        assert not torch.allclose(target, other, rtol=0.01)


@pytest.mark.parametrize("structure", ["teacher", "alone", "kdgan-3", "kdgan-4"])
def test_no_targets_without_a_fixed_teacher(
    structure: str, make_learner: MakeLearner, draw_images: DrawImages
) -> None:
    assert make_learner(structure).targets(draw_images(2), World()) == {}


@pytest.mark.parametrize("kind", ["mse", "l2"])
@pytest.mark.parametrize("structure", ["teacher", "kdgan-4"])
def test_a_score_is_s_enc_of_the_network_of_interest(
    structure: str, kind: Distance, make_learner: MakeLearner, draw_images: DrawImages
) -> None:
    learner, images = make_learner(structure, distance=kind), draw_images(5)
    generator = learner.networks[f"{STRUCTURES[structure].scored}.generator"]
    scores = learner.score(images, World())
    with torch.no_grad():
        z1, _, z2 = generator.eval()(images)
    assert scores.shape == (5,)
    assert torch.equal(scores, per_image_distance(z1, z2, kind))


def test_a_score_depends_on_the_image_alone_and_leaves_the_mode(
    make_learner: MakeLearner, draw_images: DrawImages
) -> None:
    learner, images = make_learner("alone"), draw_images(6)
    train(learner, images, TWO_EPOCHS, seed=0)
    generator = learner.networks[SG]
    assert generator.training
    together = learner.score(images, World())
    assert generator.training
    alone = torch.cat([learner.score(image[None], World()) for image in images])
    torch.testing.assert_close(alone, together, rtol=1e-4, atol=0)
    generator.eval()
    learner.score(images, World())
    assert not generator.training


@pytest.mark.parametrize(
    "network",
    [
        {"channels": 0, "widths": (1, 2, 4)},
        {"channels": 1, "widths": (1, 2)},
        {"channels": 1, "widths": (1, 0, 4)},
        {"channels": 1, "widths": (1, 2, 4), "normalisation": "instance"},
        {"channels": 1, "widths": (1, 2, 4), "width": 3},
    ],
)
def test_a_network_that_cannot_be_is_rejected(network: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        NetworkConfig.model_validate(network)


def test_a_config_is_what_it_was_after_json(make_step: Callable[..., StepConfig]) -> None:
    config = make_step("kdgan-4", joint_teacher=True, distance="l2")
    assert StepConfig.model_validate_json(config.model_dump_json()) == config
