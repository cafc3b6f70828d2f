"""(b) Images a second that the 5.12M teacher is trained on, against anomalib's GanomalyModel.

Same size of generator and discriminator, same batch of 64. anomalib is no dependency of this
project: ``make bench`` installs it beside, and names its Python in $KD_PEERS_PYTHON.
"""

import json
import os
import statistics
import subprocess
import sys
from functools import partial
from pathlib import Path

import torch

from benchmarks.harness import DEVICE, Timing, digits, emit, in_a_process, seconds_of

BATCH = 64


def ours() -> float:
    """Return the images a second of our own teacher's step."""
    from kd_models.methods.base import PackContext
    from kd_models.methods.ganomaly.networks import NetworkConfig
    from kd_models.methods.networks import WIDE
    from kd_models.methods.pkdgan.objectives import GanWeights
    from kd_models.methods.pkdgan.step import StepConfig
    from kd_models.training.epochs import learner_on
    from kd_models.training.lanes import Lanes, gather
    from kd_models.training.malloc import keep_freed_memory
    from kd_models.world import World

    keep_freed_memory()
    network = NetworkConfig(channels=1, widths=WIDE)
    config = StepConfig(structure="teacher", teacher=network, teacher_weights=GanWeights())
    world = World(device=DEVICE)
    lanes = Lanes([learner_on(config.learner(0, PackContext()), world)], (0.5, 0.999), world)
    data = {"x": digits(1).to(memory_format=torch.channels_last)}
    rows = torch.arange(BATCH, device=DEVICE)
    return BATCH / seconds_of(lambda: lanes.train_step(gather([data], [rows]), [2e-4]), 30)


def anomalib() -> float:
    """The step of ``anomalib.models.Ganomaly.training_step``, without Lightning around it."""
    from anomalib.models.image.ganomaly.loss import DiscriminatorLoss, GeneratorLoss
    from anomalib.models.image.ganomaly.torch_model import GanomalyModel
    from torch.optim import Adam

    model = GanomalyModel((32, 32), num_input_channels=1, n_features=64, latent_vec_size=256)
    model.to(DEVICE)
    model.train()
    generator_loss, discriminator_loss = GeneratorLoss(1, 50, 1), DiscriminatorLoss()
    adam_d = Adam(model.discriminator.parameters(), lr=2e-4, betas=(0.5, 0.999))
    adam_g = Adam(model.generator.parameters(), lr=2e-4, betas=(0.5, 0.999))
    x = digits(1)[:BATCH].clone()

    def step() -> None:
        padded, fake, latent_i, latent_o = model(x)
        real, _ = model.discriminator(padded)
        made, _ = model.discriminator(fake)
        loss = generator_loss(latent_i, latent_o, padded, fake, real, made)
        adam_g.zero_grad()
        loss.backward(retain_graph=True)
        adam_g.step()
        made, _ = model.discriminator(fake.detach())
        loss = discriminator_loss(real, made)
        adam_d.zero_grad()
        loss.backward()
        adam_d.step()

    return BATCH / seconds_of(step, 30)


def main() -> None:
    """Compare it with anomalib's."""
    if sys.argv[1:] == ["anomalib"]:
        print(json.dumps(in_a_process(anomalib)))
        return
    peer = os.environ.get("KD_PEERS_PYTHON")
    if not peer:
        sys.exit("teacher_rate: anomalib is installed by make bench CASES=teacher_rate")
    rounds: dict[str, list[tuple[float, float]]] = {"ours": [], "anomalib": []}
    for _ in range(3):
        rounds["ours"].append(in_a_process(partial(ours)))
        root = Path(__file__).resolve().parents[1]
        answer = subprocess.run(
            [peer, "-m", "benchmarks.teacher_rate", "anomalib"],
            check=True,
            capture_output=True,
            text=True,
            cwd=root,
        )
        rounds["anomalib"].append(tuple(json.loads(answer.stdout.splitlines()[-1])))
    found = {
        name: Timing(
            statistics.median(values := [value for value, _ in pairs]),
            (max(values) - min(values)) / statistics.median(values),
            max(peak for _, peak in pairs),
        )
        for name, pairs in rounds.items()
    }
    ratio = round(found["ours"].value / found["anomalib"].value, 2)
    emit("teacher rate", "images/s", found, ratio=ratio)


if __name__ == "__main__":
    main()
