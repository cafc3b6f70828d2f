"""(c) Seconds of an epoch of ECA_MKDAD's student over the 1,437 digits, in batches of 32.

Against a plain loop whose teacher, VGG16, runs live at every step. The teacher's weights are random
ones: it takes as long with any.
"""

import statistics
import time
from functools import partial
from pathlib import Path

import torch
from torch.optim import Adam

from benchmarks.harness import by_turns, digits, emit, epoch_seconds
from kd_models.methods.base import PackContext
from kd_models.methods.eca_mkdad.objectives import feature_distances
from kd_models.methods.eca_mkdad.scores import StudentConfig
from kd_models.methods.eca_mkdad.step import TRAINING_LAYERS, DistilConfig
from kd_models.methods.vgg16 import Teacher
from kd_models.methods.vgg16_weights import read_teacher
from kd_models.recipe import Recipe
from kd_models.training.epochs import Training, learner_on, on_device
from kd_models.training.malloc import keep_freed_memory
from kd_models.world import World

BATCH, LAMBDA = 32, 0.01


def plain(image_size: int) -> float:
    """Return the seconds of an epoch written plainly, the teacher run at every step."""
    torch.manual_seed(0)
    teacher = Teacher().eval().requires_grad_(False)
    student = StudentConfig(placement="eca").network()
    adam = Adam(student.parameters(), lr=0.1)
    images = digits(3, image_size)

    def epoch() -> None:
        order = torch.randperm(len(images))
        for rows in order[: len(images) // BATCH * BATCH].split(BATCH):
            x = images[rows]
            outputs, maps = teacher(x), student(x)
            parts = [feature_distances(outputs[i - 1], maps[i - 1]) for i in TRAINING_LAYERS]
            loss = torch.stack([v.mean() + LAMBDA * d.mean() for v, d in parts]).sum()
            adam.zero_grad()
            loss.backward()
            adam.step()

    return _median_of(epoch)


def _median_of(epoch: object) -> float:
    taken = []
    for _ in range(3):
        began = time.perf_counter()
        epoch()  # type: ignore[operator]
        taken.append(time.perf_counter() - began)
    return statistics.median(taken[1:])


def kept(image_size: int) -> float:
    """Seconds of an epoch on the teacher's kept maps."""
    return _kept(image_size)[0]


def once(image_size: int) -> float:
    """Seconds that it takes to keep them, once for all epochs, seeds and weights."""
    return _kept(image_size)[1]


def _kept(image_size: int) -> tuple[float, float]:
    keep_freed_memory()
    config = DistilConfig(student=StudentConfig(placement="eca"), lambda_=LAMBDA, teacher="0" * 64)
    world = World()
    learner = learner_on(
        config.learner(0, PackContext(read_teacher("random", Path()).state)), world
    )
    x = on_device(digits(3, image_size), world)
    began = time.perf_counter()
    training = Training(learner, {"x": x, **learner.targets(x, world)}, 0)
    first = time.perf_counter() - began
    return epoch_seconds([training], Recipe(epochs=3, batch_size=BATCH, lr=0.1), world), first


def main() -> None:
    """Compare the three."""
    for size in (32, 128):
        found = by_turns(
            {
                "plain": partial(plain, size),
                "kept": partial(kept, size),
                "once": partial(once, size),
            },
            rounds=3 if size == 32 else 1,
        )
        ratio = round(found["plain"].value / found["kept"].value, 2)
        emit(f"distillation epoch {size} px", "s", found, ratio=ratio)


if __name__ == "__main__":
    main()
