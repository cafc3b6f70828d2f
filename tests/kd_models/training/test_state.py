import pickle
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.optim import Adam

from kd_models.training.state import TrainingState


def network(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2))


def step(net: nn.Module, adam: Adam) -> None:
    adam.zero_grad()
    net(torch.linspace(0, 1, 12).view(4, 3)).square().sum().backward()
    adam.step()


@pytest.fixture
def trained() -> tuple[nn.Module, Adam]:
    net = network()
    adam = Adam(net.parameters(), lr=0.1)
    step(net, adam)
    return net, adam


def test_what_is_saved_is_restored(trained: tuple[nn.Module, Adam], tmp_path: Path) -> None:
    net, adam = trained
    TrainingState.capture(7, {"net": net}, [adam.state_dict()]).save(tmp_path / "state.pt")
    step(net, adam)

    other = network(seed=1)
    other_adam = Adam(other.parameters(), lr=0.5)
    state = TrainingState.load(tmp_path / "state.pt")
    assert state.epoch == 7
    state.restore_networks({"net": other})
    other_adam.load_state_dict(dict(state.optimizers[0]))
    step(other, other_adam)
    # Weights, running averages, Adam's moments and learning rate all go on.
    assert other_adam.param_groups[0]["lr"] == 0.1
    for key, expected in net.state_dict().items():
        assert torch.equal(other.state_dict()[key], expected), key


def test_of_a_view_the_view_alone_is_written(tmp_path: Path) -> None:
    net = nn.Linear(100, 10)
    whole = torch.zeros(50, *net.weight.shape)
    net.weight.data = whole[7]
    TrainingState.capture(1, {"net": net}, []).save(tmp_path / "state.pt")
    assert (tmp_path / "state.pt").stat().st_size < 10_000


def test_weights_must_fit(trained: tuple[nn.Module, Adam]) -> None:
    net, adam = trained
    state = TrainingState.capture(1, {"net": net}, [adam.state_dict()])
    with pytest.raises(RuntimeError, match="state_dict"):
        state.restore_networks({"net": nn.Linear(3, 2)})


class Payload:
    """Pickled, a call of ``Path.touch``."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[..., object], tuple[Path]]:
        return Path.touch, (self.path,)


def test_no_code_in_the_file_is_run(tmp_path: Path) -> None:
    marker, path = tmp_path / "was-here", tmp_path / "state.pt"
    torch.save({"epoch": Payload(marker), "networks": {}, "optimizers": []}, path)
    with pytest.raises(pickle.UnpicklingError, match="weights_only"):
        TrainingState.load(path)
    assert not marker.exists()
    torch.load(path, weights_only=False)
    assert marker.exists()  # so the file would have run it
