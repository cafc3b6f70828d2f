"""Tiny networks and steps: what every test of training is made of."""

from collections.abc import Callable

import pytest
import torch
from hypothesis import settings
from torch import Tensor, nn

from kd_models.methods.ganomaly.networks import NetworkConfig
from kd_models.methods.pkdgan.objectives import DistillationWeights, GanWeights
from kd_models.methods.pkdgan.step import GanLearner, StepConfig
from kd_models.methods.pkdgan.structures import STRUCTURES, Term
from kd_models.methods.vgg16_weights import read_teacher

# The first example of a test may import a library for seconds, on a machine others use too.
settings.register_profile("unhurried", deadline=None)
settings.load_profile("unhurried")

StateDict = dict[str, Tensor]


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    # Networks this small lose more to the hand-over between threads than they gain.
    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


@pytest.fixture
def draw_images() -> Callable[..., Tensor]:
    """Random images (N, C, 32, 32) in [-1, 1], the same each time."""

    def draw(count: int, channels: int = 1, seed: int = 0) -> Tensor:
        generator = torch.Generator().manual_seed(seed)
        return torch.rand(count, channels, 32, 32, generator=generator) * 2 - 1

    return draw


@pytest.fixture
def make_step() -> Callable[..., StepConfig]:
    """The step of a structure at widths 2-3-4 (teacher) and 1-2-4 (student)."""

    def make(structure: str, normalisation: str = "batch", **changes: object) -> StepConfig:
        row = STRUCTURES[structure]
        own_losses = Term.LG_S in row.terms
        has_teacher = row.trains_teacher or row.distils
        settings: dict[str, object] = {
            "structure": structure,
            "teacher": _network((2, 3, 4), normalisation) if has_teacher else None,
            "student": _network((1, 2, 4), normalisation) if row.trains_student else None,
            "teacher_weights": GanWeights() if row.trains_teacher else None,
            "student_weights": GanWeights() if own_losses else None,
            "distillation_weights": DistillationWeights() if row.distils else None,
        }
        return StepConfig(**(settings | changes))

    return make


def _network(widths: tuple[int, int, int], normalisation: str) -> NetworkConfig:
    return NetworkConfig(channels=1, widths=widths, normalisation=normalisation)


@pytest.fixture
def make_learner(make_step: Callable[..., StepConfig]) -> Callable[..., GanLearner]:
    def make(structure: str, seed: int = 0, **changes: object) -> GanLearner:
        return GanLearner(make_step(structure, **changes), seed)

    return make


@pytest.fixture
def weights_of() -> Callable[[dict[str, nn.Module]], dict[str, StateDict]]:
    """Copies of all parameters and buffers, by network."""

    def copy(networks: dict[str, nn.Module]) -> dict[str, StateDict]:
        return {
            name: {key: tensor.clone() for key, tensor in network.state_dict().items()}
            for name, network in networks.items()
        }

    return copy


@pytest.fixture
def changed() -> Callable[[dict[str, StateDict], dict[str, StateDict]], set[str]]:
    """The names of the networks of which any parameter or buffer differs in any bit."""

    def compare(before: dict[str, StateDict], after: dict[str, StateDict]) -> set[str]:
        assert before.keys() == after.keys()
        different = set()
        for name, old in before.items():
            assert old.keys() == after[name].keys()
            if not all(torch.equal(old[key], after[name][key]) for key in old):
                different.add(name)
        return different

    return compare


@pytest.fixture(scope="session")
def teacher_weights(tmp_path_factory: pytest.TempPathFactory) -> StateDict:
    """Random, and so much larger that the signal does not die out on the way to the last layer."""
    state = read_teacher("random", tmp_path_factory.mktemp("downloads")).state
    return {name: 6**0.5 * t if name.endswith("weight") else t for name, t in state.items()}
