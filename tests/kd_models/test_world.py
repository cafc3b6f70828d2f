"""Two processes against one. What they do is in ddp_workers.py; here it is compared.

Tolerances. Summed in two halves instead of at once, a mean differs in its last bits; that is all
that may differ between two workers and one. Adam then divides a gradient by its own size, so
that rounding decides the direction of a weight whose gradient is nearly zero: in single
precision a few weights may end a whole learning rate apart. Weights are therefore compared in
double precision, where rounding stays far below Adam's epsilon (measured 1e-15; 1e-10 allowed),
and in single precision loosely, in the mean.
"""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from kd_models.world import World

Measured = dict[str, Any]
Tensors = dict[str, Tensor]

DOUBLE = 1e-10
LR = 0.002


@pytest.fixture(scope="module")
def measured(two_workers: Callable[[str], dict[str, Measured]]) -> dict[str, Measured]:
    """What one process measures ``alone``, and each of two, ``rank0`` and ``rank1``."""
    return two_workers("kd_models/ddp_workers.py")


def largest(a: Tensors, b: Tensors) -> float:
    """The largest difference, of each tensor relative to its largest value."""
    assert a.keys() == b.keys()
    assert all(tensor.any() for tensor in a.values())
    return max(((a[k] - b[k]).abs().max() / a[k].abs().max()).item() for k in a)


def trainable(weights: Tensors) -> Tensors:
    return {k: t for k, t in weights.items() if "running_" not in k and "num_batches" not in k}


def part(found: Tensors, terms: bool) -> Tensors:
    return {k: t for k, t in found.items() if k.startswith("term/") == terms}


@pytest.mark.parametrize("rank", ["rank0", "rank1"])
@pytest.mark.parametrize("count", [1, 2, 5, 7, 8])
def test_mapped_rows_are_the_single_process_s(
    rank: str, count: int, measured: dict[str, Measured]
) -> None:
    rows = measured[rank]["map_rows"]["rows"][count]
    assert rows.tolist() == [[6.0 * i, 6.0 * i + 2, 6.0 * i + 4] for i in range(count)]
    assert torch.equal(rows, measured["alone"]["map_rows"]["rows"][count])


def test_each_process_maps_half_the_rows(measured: dict[str, Measured]) -> None:
    seen = {name: found["map_rows"]["seen"] for name, found in measured.items()}
    assert seen["alone"] == [1, 2, 5, 7, 8]
    assert seen["rank0"] == seen["rank1"] == [1, 1, 3, 4, 4]


@pytest.mark.parametrize("rank", ["rank0", "rank1"])
def test_scores_and_targets_of_two_are_those_of_one(
    rank: str, measured: dict[str, Measured]
) -> None:
    alone, found = measured["alone"]["map_rows"], measured[rank]["map_rows"]
    assert alone["scores"].shape == (7,)
    torch.testing.assert_close(found["scores"], alone["scores"], rtol=DOUBLE, atol=0)
    assert list(alone["targets"]) == ["target/z1", "target/x_hat", "target/z2"]
    for key, target in alone["targets"].items():
        torch.testing.assert_close(found["targets"][key], target, rtol=DOUBLE, atol=DOUBLE)


@pytest.mark.parametrize("rank", ["rank0", "rank1"])
def test_a_mean_is_over_all_and_leaves_its_values(rank: str, measured: dict[str, Measured]) -> None:
    found = measured[rank]["exchange"]
    assert found["mean"].tolist() == [1.5, 15.0]
    own = 1.0 if rank == "rank0" else 2.0
    assert found["values"].tolist() == [own, 10 * own]


@pytest.mark.parametrize("rank", ["rank0", "rank1"])
def test_buffers_are_averaged_and_counts_left(rank: str, measured: dict[str, Measured]) -> None:
    buffers = measured[rank]["exchange"]["buffers"]
    found = {name: buffer.tolist() for name, buffer in buffers.items()}
    assert found == {
        "running_mean": [1.5, 1.5],
        "running_var": [2.0, 2.0],
        "num_batches_tracked": 3,
    }


@pytest.mark.parametrize(("precision", "tolerance"), [("", DOUBLE), ("/single", 1e-4)])
def test_half_batches_give_the_gradients_of_the_whole(
    precision: str, tolerance: float, measured: dict[str, Measured]
) -> None:
    name = f"gradients/per-image{precision}"
    alone = measured["alone"][name]
    for rank in ("rank0", "rank1"):
        found = measured[rank][name]
        assert largest(part(alone, terms=True), part(found, terms=True)) < tolerance
        assert largest(part(alone, terms=False), part(found, terms=False)) < tolerance


@pytest.mark.parametrize(
    "name", ["fit/kdgan-4/per-image/1", "fit/kdgan-4/per-image/3", "fit/kdgan-2/per-image/3"]
)
def test_half_batches_train_as_the_whole_does(name: str, measured: dict[str, Measured]) -> None:
    alone, found = measured["alone"][name], measured["rank0"][name]
    assert alone["weights"].keys() == found["weights"].keys()
    for key, expected in alone["weights"].items():
        torch.testing.assert_close(found["weights"][key], expected, rtol=0, atol=DOUBLE)
    assert len(alone["terms"]) == len(found["terms"]) == int(name[-1])
    for own, other in zip(alone["terms"], found["terms"], strict=True):
        assert own == pytest.approx(other, rel=DOUBLE)


def test_half_batches_train_as_the_whole_does_in_single_precision(
    measured: dict[str, Measured],
) -> None:
    name = "fit/kdgan-4/per-image/3/single"
    alone, found = measured["alone"][name], measured["rank0"][name]
    differences = [
        (found["weights"][key] - tensor).abs().flatten() for key, tensor in alone["weights"].items()
    ]
    assert torch.cat(differences).mean() < LR * 1e-3
    for own, other in zip(alone["terms"], found["terms"], strict=True):
        assert own == pytest.approx(other, rel=1e-4)


def test_with_batch_statistics_half_batches_train_something_else(
    measured: dict[str, Measured],
) -> None:
    """BatchNorm normalises each half by its own mean and variance, so that even the first
    step's terms differ, by per cents where per-image normalisation agrees to 1e-10. Two workers
    with ``batch`` are a smaller batch, not a faster one."""
    alone, found = (measured[who]["gradients/batch"] for who in ("alone", "rank0"))
    assert largest(part(alone, terms=True), part(found, terms=True)) > 1e-3
    assert largest(part(alone, terms=False), part(found, terms=False)) > 1e-1
    alone, found = (measured[who]["fit/kdgan-4/batch/1"] for who in ("alone", "rank0"))
    a, b = trainable(alone["weights"]), trainable(found["weights"])
    # Adam's first step is one learning rate up or down: some weights go the other way.
    assert max((a[key] - b[key]).abs().max().item() for key in a) > LR


@pytest.mark.parametrize(
    "name", ["fit/kdgan-4/batch/3", "fit/kdgan-4/per-image/3/single", "fit/kdgan-2/per-image/3"]
)
def test_both_processes_end_with_the_same_networks(
    name: str, measured: dict[str, Measured]
) -> None:
    first, second = measured["rank0"][name], measured["rank1"][name]
    assert first["weights"].keys() == second["weights"].keys()
    for key, tensor in first["weights"].items():
        assert torch.equal(tensor, second["weights"][key]), key
    assert first["terms"] == second["terms"]
    if "/batch/" in name:
        running = [tensor for key, tensor in first["weights"].items() if "running_mean" in key]
        assert running
        assert all(tensor.any() for tensor in running)


@pytest.mark.parametrize("structure", ["kdgan-2", "kdgan-4"])
def test_two_resumed_equal_two_never_stopped(structure: str, measured: dict[str, Measured]) -> None:
    for name, found in measured.items():
        runs = found[f"resume/{structure}"]
        for key, tensor in runs["undisturbed"].items():
            assert torch.equal(tensor, runs["resumed"][key]), (name, key)


@pytest.mark.parametrize("name", ["alone", "rank0", "rank1"])
def test_lanes_over_two_processes_train_as_each_would_alone_over_two(
    name: str, measured: dict[str, Measured]
) -> None:
    found = measured[name]["lanes"]
    assert found["lost"] == {2}
    for seed in (0, 1, 3):
        for key, expected in found[f"alone/{seed}"].items():
            torch.testing.assert_close(
                found[f"together/{seed}"][key], expected, rtol=1e-7, atol=1e-9
            )
    for scores, first in zip(found["scores"], measured["rank0"]["lanes"]["scores"], strict=True):
        assert scores.shape == first.shape == (5,)
        if name != "alone":
            assert torch.equal(scores, first)


def test_both_processes_diverge_when_one_s_image_is_no_number(
    measured: dict[str, Measured],
) -> None:
    messages = {name: found["failures"]["diverged"] for name, found in measured.items()}
    assert messages["rank0"] == messages["rank1"] == messages["alone"]
    assert messages["rank0"].endswith("loss/1 not finite in epoch 1")


def test_both_processes_refuse_data_they_cannot_share(measured: dict[str, Measured]) -> None:
    messages = [measured[rank]["failures"]["too small"] for rank in ("rank0", "rank1")]
    expected = (
        "2 workers cannot share batches of 1 images (1 images to train on, batch_size 64): "
        "use fewer workers"
    )
    assert messages == [expected] * 2


def test_alone_nothing_is_wrapped_and_nothing_exchanged() -> None:
    """Without any process group, so that a call to torch.distributed would fail."""
    world, norm = World(), torch.nn.BatchNorm2d(2)
    assert (world.rank, world.size, world.device) == (0, 1, torch.device("cpu"))
    assert world.wrap(norm) is norm
    values = torch.ones(2)
    assert world.mean(values).tolist() == [1.0, 1.0]
    world.average_buffers(norm)
    assert norm.running_var.tolist() == [1.0, 1.0]
    assert world.map_rows(lambda rows: rows + 1, values).tolist() == [2.0, 2.0]
