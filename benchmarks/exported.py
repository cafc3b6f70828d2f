"""(i) Latency of one image on one thread: eager PyTorch, ONNX and int8, of teacher and students."""

import statistics
import time
from collections.abc import Callable
from functools import partial

import torch

from benchmarks.harness import by_turns, emit
from kd_models.evaluation.scoring import Scorer
from kd_models.export.int8 import to_int8
from kd_models.export.onnx_model import program_of, to_onnx
from kd_models.methods.ganomaly.networks import NetworkConfig
from kd_models.methods.networks import IMAGE_SIZE, WIDE
from kd_models.methods.pkdgan.scores import CalibratedNetwork, GanDetector
from kd_models.methods.prototypes import PrototypeSettings
from kd_score.detector import run, session

RUNS = 1000
DETECTORS = {
    "teacher 64-128-256": GanDetector(network=NetworkConfig(channels=1, widths=WIDE)),
    "2-4-8": GanDetector(network=NetworkConfig(channels=1, widths=(2, 4, 8))),
    "1-2-4": GanDetector(network=NetworkConfig(channels=1, widths=(1, 2, 4))),
    "1-2-4 calibrated": GanDetector(
        network=NetworkConfig(channels=1, widths=(1, 2, 4)), calibration=PrototypeSettings()
    ),
}


def images(count: int) -> torch.Tensor:
    """Return images in [-1, 1]; latency does not depend on what is in them."""
    return torch.rand(count, 1, IMAGE_SIZE, IMAGE_SIZE) * 2 - 1


def scorer_of(name: str) -> Scorer:
    """Return a detector with initial weights, fitted where there is something to fit."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    scorer = DETECTORS[name].scorer().eval()
    if isinstance(scorer.student, CalibratedNetwork):
        with torch.no_grad():
            scorer.student.fit(scorer.student.features(images(500)))
    return scorer


def median_us(once: Callable[[], object]) -> float:
    """Return the median microseconds of processor time that one call takes."""
    for _ in range(20):
        once()
    times = []
    for _ in range(RUNS):
        start = time.thread_time()
        once()
        times.append(time.thread_time() - start)
    return 1e6 * statistics.median(times)


def eager(name: str) -> float:
    """Measure PyTorch as it is."""
    scorer, x = scorer_of(name), images(1)
    with torch.inference_mode():
        return median_us(partial(scorer, x))


def exported(name: str, int8: bool = False) -> float:
    """Measure the ONNX model in ONNX Runtime."""
    model = to_onnx(program_of(scorer_of(name), channels=1, image_size=IMAGE_SIZE))
    if int8:
        model = to_int8(model, ((images(64) + 1) * 127.5).numpy())
    running, pixels = session(model, 1), ((images(1) + 1) * 127.5).numpy()
    return median_us(partial(run, running, pixels))


def main() -> None:
    """Measure all of them by turns."""
    sides = {
        f"{name}, {kind}": partial(measure, name)
        for name in DETECTORS
        for kind, measure in (
            ("eager", eager),
            ("ONNX", exported),
            ("int8", partial(exported, int8=True)),
        )
    }
    emit("latency of one image, one thread", "us", by_turns(sides))


if __name__ == "__main__":
    main()
