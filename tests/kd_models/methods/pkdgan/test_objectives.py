from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from kd_models.methods.adversarial import cross_entropies
from kd_models.methods.ganomaly.losses import gan_terms
from kd_models.methods.ganomaly.networks import Generator, Reconstruction
from kd_models.methods.ganomaly.objectives import DiscriminatorObjective
from kd_models.methods.networks import Discriminator
from kd_models.methods.objectives import LOSS
from kd_models.methods.pkdgan.losses import distillation_terms
from kd_models.methods.pkdgan.objectives import (
    TARGET_KEYS,
    DistillationWeights,
    GanWeights,
    fixed_targets,
)
from kd_models.methods.pkdgan.step import GanLearner
from kd_models.world import World

MakeLearner = Callable[..., GanLearner]
DrawImages = Callable[..., Tensor]

TEACHER = ["teacher/con", "teacher/enc", "teacher/adv"]
STUDENT = ["student/con", "student/enc", "student/adv"]
KD = ["kd/k1", "kd/kx", "kd/k2"]
TERMS = {
    "teacher": TEACHER,
    "alone": STUDENT,
    "kdgan-1": KD,
    "kdgan-2": STUDENT + KD,
    "kdgan-3": TEACHER + KD,
    "kdgan-4": TEACHER + STUDENT + KD,
}
LOGITS = {
    "teacher": ["teacher"],
    "alone": ["student"],
    "kdgan-2": ["student"],
    "kdgan-3": ["teacher"],
    "kdgan-4": ["teacher", "student"],
}


def batch_of(learner: GanLearner, images: Tensor) -> dict[str, Tensor]:
    return {"x": images, **learner.targets(images, World())}


def gradients(network: nn.Module) -> dict[str, Tensor]:
    return {name: p.grad.clone() for name, p in network.named_parameters() if p.grad is not None}


def run_generators(learner: GanLearner, images: Tensor) -> dict[str, Tensor]:
    """The generators' terms, after one backward of their sum."""
    terms, _ = learner.objectives()[0](batch_of(learner, images))
    terms[LOSS].backward()
    return terms


@pytest.mark.parametrize("structure", TERMS)
def test_the_terms_of_a_structure(
    structure: str, make_learner: MakeLearner, draw_images: DrawImages
) -> None:
    learner = make_learner(structure)
    terms, made = learner.objectives()[0](batch_of(learner, draw_images(2)))
    assert sorted(terms) == sorted([*TERMS[structure], LOSS])
    assert all(term.shape == () for term in terms.values())
    roles = [name.split(".")[0] for name in learner.trained if name.endswith(".generator")]
    expected = [f"{role}/x_hat" for role in roles]
    expected += [f"{role}/real_logit" for role in LOGITS.get(structure, ())]
    assert sorted(made) == sorted(expected)


@pytest.mark.parametrize("structure", LOGITS)
def test_the_discriminators_terms_of_a_structure(
    structure: str, make_learner: MakeLearner, draw_images: DrawImages
) -> None:
    learner = make_learner(structure)
    generators, discriminators = learner.objectives()
    batch = batch_of(learner, draw_images(2))
    batch |= generators(batch)[1]
    terms, made = discriminators(batch)
    expected = [f"{role}/{ce}" for role in LOGITS[structure] for ce in ("ce_real", "ce_fake")]
    assert sorted(terms) == sorted([*expected, LOSS])
    assert made == {}


def test_kdgan_1_has_no_discriminator_and_no_second_objective(make_learner: MakeLearner) -> None:
    learner = make_learner("kdgan-1")
    assert len(learner.objectives()) == 1
    assert not any(isinstance(network, Discriminator) for network in learner.networks.values())


@pytest.mark.parametrize("structure", TERMS)
def test_the_loss_is_the_weighted_sum(
    structure: str, make_learner: MakeLearner, draw_images: DrawImages
) -> None:
    teacher, student = GanWeights(con=2, enc=3, adv=5), GanWeights(con=7, enc=11, adv=13)
    kd = DistillationWeights(k1=17, kx=19, k2=23)
    in_use = {
        "teacher_weights": teacher if TEACHER[0] in TERMS[structure] else None,
        "student_weights": student if STUDENT[0] in TERMS[structure] else None,
        "distillation_weights": kd if KD[0] in TERMS[structure] else None,
    }
    learner = make_learner(structure, **in_use)
    terms, _ = learner.objectives()[0](batch_of(learner, draw_images(2)))
    primes = dict(zip(TEACHER + STUDENT + KD, (2, 3, 5, 7, 11, 13, 17, 19, 23), strict=True))
    expected = sum(primes[name] * terms[name].item() for name in TERMS[structure])
    assert terms[LOSS].item() == pytest.approx(expected, rel=1e-5)


def test_the_default_weights_are_the_paper_s() -> None:
    assert GanWeights().model_dump() == {"con": 10, "enc": 1, "adv": 1}
    assert DistillationWeights().model_dump() == {"k1": 1, "kx": 1, "k2": 1}


def test_the_terms_are_those_of_the_losses(
    make_learner: MakeLearner, draw_images: DrawImages
) -> None:
    learner, x = make_learner("kdgan-4", distance="l2"), draw_images(3)
    terms, made = learner.objectives()[0]({"x": x})
    outputs: dict[str, Reconstruction] = {}
    for role in ("teacher", "student"):
        generator = learner.networks[f"{role}.generator"]
        critic = learner.networks[f"{role}.discriminator"]
        outputs[role] = out = generator(x)
        own = gan_terms(x, out, critic(x)[1], critic(out.x_hat_BCSS)[1], "l2")
        assert {name: terms[f"{role}/{name}"].item() for name in own} == pytest.approx(
            {name: term.item() for name, term in own.items()}
        )
        torch.testing.assert_close(made[f"{role}/x_hat"], out.x_hat_BCSS.detach())
    shared = distillation_terms(outputs["student"], outputs["teacher"], "l2")
    assert {name: terms[f"kd/{name}"].item() for name in shared} == pytest.approx(
        {name: term.item() for name, term in shared.items()}
    )


@pytest.mark.parametrize("structure", ["kdgan-3", "kdgan-4"])
def test_k_l_leaves_a_teacher_that_trains_alone(
    structure: str, make_learner: MakeLearner, draw_images: DrawImages
) -> None:
    images = draw_images(3)
    found = {}
    for name in ("teacher", structure):
        learner = make_learner(name)
        run_generators(learner, images)
        found[name] = gradients(learner.networks["teacher.generator"])
    assert found["teacher"].keys() == found[structure].keys() != set()
    for name, expected in found["teacher"].items():
        assert torch.equal(found[structure][name], expected), name


@pytest.mark.parametrize("structure", ["kdgan-3", "kdgan-4"])
def test_k_l_moves_the_teacher_too_when_asked(
    structure: str, make_learner: MakeLearner, draw_images: DrawImages
) -> None:
    images = draw_images(3)
    found = {}
    for joint in (False, True):
        learner = make_learner(structure, joint_teacher=joint)
        run_generators(learner, images)
        found[joint] = {
            role: gradients(learner.networks[f"{role}.generator"])
            for role in ("teacher", "student")
        }
    different = [
        name
        for name, gradient in found[False]["teacher"].items()
        if not torch.allclose(found[True]["teacher"][name], gradient, rtol=1e-3, atol=0)
    ]
    assert len(different) == len(found[False]["teacher"])
    # The student's own gradients are the same either way.
    for name, gradient in found[False]["student"].items():
        assert torch.equal(found[True]["student"][name], gradient), name


def test_k_l_alone_trains_the_student(make_learner: MakeLearner, draw_images: DrawImages) -> None:
    for structure in ("kdgan-1", "kdgan-3"):
        learner = make_learner(structure)
        run_generators(learner, draw_images(3))
        student = learner.networks["student.generator"]
        assert all(p.grad is not None and p.grad.any() for p in student.parameters())


def test_a_critic_is_read_and_not_trained_by_the_generators(
    make_learner: MakeLearner, draw_images: DrawImages
) -> None:
    learner = make_learner("kdgan-4")
    run_generators(learner, draw_images(2))
    generators, _ = learner.objectives()
    own = {id(parameter) for parameter in generators.parameters()}
    for name, network in learner.networks.items():
        for parameter in network.parameters():
            is_critic = isinstance(network, Discriminator)
            assert (parameter.grad is None) == is_critic, name
            assert (id(parameter) in own) != is_critic, name


def test_s_adv_reaches_the_generator_through_the_critic(
    make_learner: MakeLearner, draw_images: DrawImages
) -> None:
    learner = make_learner("alone", student_weights=GanWeights(con=0, enc=0, adv=1))
    run_generators(learner, draw_images(2))
    decoder = learner.networks["student.generator"].decoder
    assert all(parameter.grad.any() for parameter in decoder.parameters())


def test_the_discriminators_do_not_train_the_generators(
    make_learner: MakeLearner, draw_images: DrawImages
) -> None:
    learner = make_learner("kdgan-4")
    generators, discriminators = learner.objectives()
    batch = {"x": draw_images(2)}
    batch |= generators(batch)[1]
    discriminators(batch)[0][LOSS].backward()
    for network in learner.networks.values():
        for parameter in network.parameters():
            assert (parameter.grad is None) == isinstance(network, Generator)


def test_the_discriminators_loss_by_hand(draw_images: DrawImages) -> None:
    discriminator = Discriminator(1, (1, 2, 4), "per-image")
    x, x_hat = draw_images(2), draw_images(2, seed=1)
    batch = {"student/real_logit": discriminator(x)[0], "student/x_hat": x_hat}
    terms, _ = DiscriminatorObjective({"student": discriminator})(batch)
    real = cross_entropies(discriminator(x)[0], real=True).mean().item()
    fake = cross_entropies(discriminator(x_hat)[0], real=False).mean().item()
    found = {name: term.item() for name, term in terms.items()}
    expected = {"student/ce_real": real, "student/ce_fake": fake, LOSS: (real + fake) / 2}
    assert found == pytest.approx(expected)
    assert real != pytest.approx(fake, rel=1e-6)


def test_what_is_handed_on_leads_to_no_generator(
    make_learner: MakeLearner, draw_images: DrawImages
) -> None:
    learner = make_learner("kdgan-4")
    generators, discriminators = learner.objectives()
    _, made = generators({"x": draw_images(2)})
    assert not any(made[f"{role}/x_hat"].requires_grad for role in ("teacher", "student"))
    discriminators({"x": draw_images(2)} | made)[0][LOSS].backward()
    assert all(parameter.grad is None for parameter in generators.parameters())
    assert all(parameter.grad is not None for parameter in discriminators.parameters())


@pytest.mark.parametrize("structure", LOGITS)
def test_a_discriminator_sees_the_images_once_and_what_is_made_of_them_twice(
    structure: str, make_learner: MakeLearner, draw_images: DrawImages
) -> None:
    learner = make_learner(structure)
    generators, discriminators = learner.objectives()
    batch = batch_of(learner, draw_images(2))
    discriminators(batch | generators(batch)[1])
    norms = [m for m in discriminators.modules() if isinstance(m, nn.BatchNorm2d)]
    assert norms
    assert {int(norm.num_batches_tracked) for norm in norms} == {3}


@pytest.mark.parametrize("structure", ["kdgan-2", "kdgan-4"])
def test_a_weight_of_0_does_not_remove_a_term(
    structure: str, make_learner: MakeLearner, draw_images: DrawImages
) -> None:
    nothing = GanWeights(con=0, enc=0, adv=0)
    learner = make_learner(
        structure,
        student_weights=nothing,
        distillation_weights=DistillationWeights(k1=0, kx=0, k2=0),
    )
    terms, _ = learner.objectives()[0](batch_of(learner, draw_images(2)))
    assert sorted(terms) == sorted([*TERMS[structure], LOSS])
    assert all(terms[name] > 0 for name in TERMS[structure])
    assert sorted(learner.trained) == sorted(make_learner(structure).trained)
    assert len(learner.objectives()) == 2
    if structure == "kdgan-2":
        assert terms[LOSS] == 0


def test_fixed_targets_are_read_in_the_order_of_a_reconstruction() -> None:
    batch = {key: torch.tensor(float(index)) for index, key in enumerate(TARGET_KEYS)}
    found = fixed_targets(batch)
    assert [found.z1_BZ.item(), found.x_hat_BCSS.item(), found.z2_BZ.item()] == [0, 1, 2]
    assert TARGET_KEYS == ("target/z1", "target/x_hat", "target/z2")
