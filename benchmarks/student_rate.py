"""(a) Images a second that students of KDGAN-2 are trained on, over all lanes.

Against a plain loop: one student, the teacher run live at every step, everything as PyTorch has it
by default. Batch 64, the teacher of 64-128-256.
"""

import argparse
from functools import partial

import torch
from torch import Tensor
from torch.optim import Adam

from benchmarks.harness import DEVICE, by_turns, digits, emit, epoch_seconds, seconds_of
from kd_models.methods.adversarial import cross_entropies
from kd_models.methods.base import PackContext
from kd_models.methods.ganomaly.losses import gan_terms
from kd_models.methods.ganomaly.networks import NetworkConfig
from kd_models.methods.networks import WIDE, Widths
from kd_models.methods.pkdgan.losses import distillation_terms
from kd_models.methods.pkdgan.objectives import DistillationWeights, GanWeights
from kd_models.methods.pkdgan.step import StepConfig
from kd_models.recipe import Recipe
from kd_models.training.epochs import Training, learner_on, on_device
from kd_models.training.malloc import keep_freed_memory
from kd_models.world import World

WIDTHS: tuple[Widths, ...] = ((1, 2, 4), (2, 4, 8), (8, 16, 64))
BATCH = 64
LANES = (1, 4, 16, 32, 64)

TEACHER = NetworkConfig(channels=1, widths=WIDE)


def plain(widths: Widths) -> float:
    """As one would write it from the paper."""
    student = TEACHER.model_copy(update={"widths": widths})
    teacher, generator = TEACHER.generator().eval().to(DEVICE), student.generator().to(DEVICE)
    critic = student.discriminator().to(DEVICE)
    adams = [Adam(net.parameters(), lr=2e-4, betas=(0.5, 0.999)) for net in (generator, critic)]
    gan, distillation = GanWeights().model_dump(), DistillationWeights().model_dump()
    images = digits(1)

    def step() -> None:
        x = images[torch.randperm(len(images), device=DEVICE)[:BATCH]]
        with torch.no_grad():
            outputs = teacher(x)
        made = generator(x)
        f_x, f_x_hat = critic(x)[1], critic(made.x_hat_BCSS)[1]
        own = gan_terms(x, made, f_x, f_x_hat, "l2")
        shared = distillation_terms(made, outputs, "l2")
        loss: Tensor = sum(gan[name] * term for name, term in own.items())
        loss = loss + sum(distillation[name] * term for name, term in shared.items())
        adams[0].zero_grad()
        loss.backward()
        adams[0].step()
        real, fake = critic(x)[0], critic(made.x_hat_BCSS.detach())[0]
        loss = (
            cross_entropies(real, real=True).mean() + cross_entropies(fake, real=False).mean()
        ) / 2
        adams[1].zero_grad()
        loss.backward()
        adams[1].step()

    return BATCH / seconds_of(step, 30)


def lanes(widths: Widths, count: int) -> float:
    """As a trial does it: the pack's own loop, with gathering and the end of epochs."""
    keep_freed_memory()
    config = StepConfig(
        structure="kdgan-2",
        teacher=TEACHER,
        student=TEACHER.model_copy(update={"widths": widths}),
        student_weights=GanWeights(),
        distillation_weights=DistillationWeights(),
    )
    world, context = World(device=DEVICE), PackContext()
    x = on_device(digits(1), world)
    learners = [learner_on(config.learner(seed, context), world) for seed in range(count)]
    data = {"x": x, **learners[0].targets(x, world)}
    trainings = [Training(learner, data, seed) for seed, learner in enumerate(learners)]
    recipe = Recipe(epochs=4 if count > 4 else 6, batch_size=BATCH)
    images = len(x) // BATCH * BATCH
    return count * images / epoch_seconds(trainings, recipe, world)


def main() -> None:
    """Compare plain training with lanes, for each width."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("lanes", type=int, nargs="*", default=LANES)
    parser.add_argument("--widths", default=None, help="only these, such as 1-2-4")
    options = parser.parse_args()
    for widths in WIDTHS:
        name = "-".join(map(str, widths))
        if options.widths not in {None, name}:
            continue
        sides = {"plain": partial(plain, widths)}
        sides |= {f"lanes_{count}": partial(lanes, widths, count) for count in options.lanes}
        found = by_turns(sides)
        ratios = {
            side: round(m.value / found["plain"].value, 2)
            for side, m in found.items()
            if side != "plain"
        }
        emit(f"student rate {name}", "images/s", found, ratio=ratios)


if __name__ == "__main__":
    main()
