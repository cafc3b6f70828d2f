import os
import pickle
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.error import URLError

import pytest
import torch
from filelock import FileLock
from safetensors.torch import save_file
from torch import Tensor

from kd_models.methods.base import WeightsError
from kd_models.methods.vgg16 import Teacher
from kd_models.methods.vgg16_weights import RANDOM, read_teacher

StateDict = dict[str, Tensor]

CLASSIFIER = {"classifier.0.weight": torch.ones(3, 3), "classifier.0.bias": torch.ones(3)}
IMAGENET_FILE = "vgg16-397923af.pth"


def constants(step: float = 0.25) -> StateDict:
    """``features.*`` with one value a tensor, each another: a file of them is small."""
    with torch.device("meta"):
        shapes = {name: tensor.shape for name, tensor in Teacher().state_dict().items()}
    return {
        name: torch.tensor(step * place).expand(shape)
        for place, (name, shape) in enumerate(shapes.items())
    }


def bare(state: StateDict) -> StateDict:
    return {name.removeprefix("features."): tensor for name, tensor in state.items()}


@pytest.fixture
def saved(tmp_path: Path) -> Callable[..., str]:
    """The path of a file that ``torch.save`` wrote."""

    def save(content: Any, name: str = "vgg.pt") -> str:
        torch.save(content, tmp_path / name)
        return str(tmp_path / name)

    return save


def read(source: str) -> Any:
    return read_teacher(source, Path("nowhere"))


def message(source: str, downloads: Path = Path("nowhere"), download: bool = False) -> str:
    with pytest.raises(WeightsError) as error:
        read_teacher(source, downloads, download=download)
    return str(error.value)


def test_random_weights_are_the_same_whenever_asked_for(tmp_path: Path) -> None:
    torch.manual_seed(1)
    first = read_teacher(RANDOM, tmp_path)
    torch.manual_seed(2)
    again = read_teacher(RANDOM, tmp_path)
    assert first.sha256 == again.sha256
    assert all(torch.equal(tensor, again.state[name]) for name, tensor in first.state.items())
    assert list(tmp_path.iterdir()) == []


def test_random_weights_draw_no_random_number_of_their_caller(tmp_path: Path) -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    read_teacher(RANDOM, tmp_path)
    assert torch.equal(torch.rand(3), expected)


def test_random_weights_fit_the_teacher_and_are_no_constants(tmp_path: Path) -> None:
    state = read_teacher(RANDOM, tmp_path).state
    Teacher().load_state_dict(dict(state))
    assert all(tensor.std() > 0 for tensor in state.values())


@pytest.mark.parametrize("whole", [True, False], ids=["whole vgg16", "its features"])
def test_a_file_of_torch_save_is_read(whole: bool, saved: Callable[..., str]) -> None:
    wanted = constants()
    found = read(saved(wanted | CLASSIFIER if whole else bare(wanted)))
    assert found.state.keys() == wanted.keys()
    assert all(torch.equal(found.state[name], tensor) for name, tensor in wanted.items())
    assert found.sha256 == read(saved(wanted, "other.pt")).sha256


def test_a_file_of_safetensors_is_read_in_its_precision(
    tmp_path: Path, saved: Callable[..., str]
) -> None:
    wanted = {name: tensor.half().contiguous() for name, tensor in constants().items()}
    save_file(wanted | CLASSIFIER, tmp_path / "vgg.safetensors")
    found = read(str(tmp_path / "vgg.safetensors"))
    assert found.state.keys() == wanted.keys()
    assert all(torch.equal(found.state[name], tensor) for name, tensor in wanted.items())
    assert {tensor.dtype for tensor in found.state.values()} == {torch.float16}
    # The values are exact in half precision: the weights are the same, wherever they come from.
    assert found.sha256 == read(saved(constants())).sha256


def test_the_identity_is_of_the_values_and_not_of_how_they_are_stored(
    saved: Callable[..., str],
) -> None:
    wanted = constants()
    stored: dict[str, StateDict] = {
        "whole": wanted | CLASSIFIER,
        "bare": bare(wanted),
        "half": {name: tensor.half() for name, tensor in wanted.items()},
        "brain": {name: tensor.bfloat16() for name, tensor in wanted.items()},
        "backwards": dict(reversed(wanted.items())),
    }
    found = {read(saved(state, f"{name}.pt")).sha256 for name, state in stored.items()}
    assert found == {read(saved(wanted)).sha256}
    (sha,) = found
    assert len(sha) == 64


@pytest.mark.parametrize("name", ["features.0.bias", "features.28.weight"])
def test_another_value_is_another_identity(name: str, saved: Callable[..., str]) -> None:
    wanted = constants()
    other = wanted[name].clone()
    other.view(-1)[-1] += 2.0**-10
    shas = {read(saved(state)).sha256 for state in (wanted, wanted | {name: other})}
    assert len(shas) == 2


def test_two_tensors_that_change_places_are_another_identity(saved: Callable[..., str]) -> None:
    wanted = constants()
    first, second = "features.19.bias", "features.21.bias"
    swapped = wanted | {first: wanted[second], second: wanted[first]}
    assert read(saved(wanted)).sha256 != read(saved(swapped)).sha256


def test_the_home_folder_may_be_written_short(
    saved: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(Path(saved(constants())).parent))
    assert len(read("~/vgg.pt").state) == 26


@pytest.mark.parametrize(
    ("source", "nearest"),
    [
        ("imagenet1k_v2", "; did you mean imagenet1k_v1?"),
        ("ramdom", "; did you mean random?"),
        ("/nowhere/at/all.pt", ""),
    ],
)
def test_a_file_that_is_not_there_is_named_with_what_was_meant(source: str, nearest: str) -> None:
    assert message(source) == (
        f"teacher weights {source!r}: there is no such file; expected imagenet1k_v1, random or "
        f"the path of a VGG16 state dict{nearest}"
    )


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    assert "there is no such file" in message(str(tmp_path))


def test_a_missing_key_is_named(saved: Callable[..., str]) -> None:
    state = constants() | CLASSIFIER
    del state["features.24.bias"]
    path = saved(state)
    assert message(path).startswith(f"{path} is not VGG16's: it has no features.24.bias")
    assert "torchvision's vgg16()" in message(path)


@pytest.mark.parametrize("prefix", ["features.", ""])
def test_a_key_too_many_is_named(prefix: str, saved: Callable[..., str]) -> None:
    state = constants() if prefix else bare(constants())
    path = saved(state | {f"{prefix}30.weight": torch.ones(1)})
    assert message(path) == f"{path} is not VGG16's: it has features.30.weight"


def test_a_wrong_shape_is_named_with_the_right_one(saved: Callable[..., str]) -> None:
    path = saved(constants() | {"features.2.weight": torch.ones(64, 3, 3, 3)})
    assert message(path) == (
        f"{path}: features.2.weight is torch.Size([64, 3, 3, 3]), expected (64, 64, 3, 3)"
    )


def test_a_value_that_is_no_tensor_is_named(saved: Callable[..., str]) -> None:
    path = saved(constants() | {"features.2.bias": 3})
    assert message(path) == f"{path}: features.2.bias is None, expected (64,)"


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_a_value_that_is_not_finite_is_named(value: float, saved: Callable[..., str]) -> None:
    state = constants()
    bad = state["features.17.bias"].clone()
    bad[100] = value
    path = saved(state | {"features.17.bias": bad})
    assert message(path) == f"{path}: features.17.bias is not finite everywhere"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ([1, 2], "holds list, not a state dict"),
        (torch.ones(3), "holds Tensor, not a state dict"),
        ({}, "is not VGG16's: it has no features.0.bias"),
        ({"epoch": 3, "model": {}}, "is not VGG16's: it has no features.0.bias"),
        ({0: torch.ones(3)}, "not"),  # as an optimizer's state has them
    ],
    ids=["list", "tensor", "empty", "checkpoint", "numbers for names"],
)
def test_what_is_no_state_dict_is_said_to_be_none(
    content: object, words: str, saved: Callable[..., str]
) -> None:
    path = saved(content)
    assert message(path).startswith(path)
    assert words in message(path)


def test_code_in_a_file_is_refused_and_not_run(saved: Callable[..., str], tmp_path: Path) -> None:
    trace = tmp_path / "was here"

    class Code:
        def __reduce__(self) -> tuple[Any, ...]:
            return os.mkdir, (str(trace),)

    content = constants() | {"features.0.bias": Code()}
    path = saved(content)
    found = message(path)
    assert found.startswith(f"{path} is not a plain state dict (UnpicklingError)")
    assert "torch.save(network.state_dict(), path)" in found
    legacy = tmp_path / "legacy.pkl"
    legacy.write_bytes(pickle.dumps({"features.0.bias": Code()}))
    assert "is not a plain state dict" in message(str(legacy))
    assert not trace.exists()


@pytest.mark.parametrize("name", ["vgg.pt", "vgg.safetensors"])
def test_a_truncated_file_cannot_be_read(
    name: str, saved: Callable[..., str], tmp_path: Path
) -> None:
    path = tmp_path / name
    if name == "vgg.pt":
        saved(constants(), name)
    else:
        save_file({"features.0.bias": torch.ones(64)}, path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    assert message(str(path)).startswith(f"{path} cannot be read as a state dict: ")


@pytest.mark.parametrize("name", ["vgg.pt", "vgg.safetensors"])
@pytest.mark.parametrize("content", [b"", b"no weights at all\n"], ids=["empty", "text"])
def test_a_file_of_something_else_is_named(name: str, content: bytes, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    found = message(str(path))
    assert found.startswith(str(path))
    assert "state dict" in found


def test_imagenet_weights_that_may_not_be_downloaded_are_missed(tmp_path: Path) -> None:
    assert message("imagenet1k_v1", tmp_path) == f"{tmp_path / IMAGENET_FILE} is not there"
    assert list(tmp_path.iterdir()) == []


def test_imagenet_weights_that_are_there_are_read(
    tmp_path: Path, saved: Callable[..., str]
) -> None:
    wanted = constants()
    path = saved(wanted | CLASSIFIER, IMAGENET_FILE)
    found = read_teacher("imagenet1k_v1", tmp_path, download=False)
    assert found.state.keys() == wanted.keys()
    assert found.sha256 == read(path).sha256


def test_imagenet_weights_are_downloaded_by_one_at_a_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    waited = threading.Event()

    def fetch(*arguments: Any, **options: Any) -> Any:
        waited.set()
        raise OSError

    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", fetch)
    with FileLock(tmp_path / ".download.lock"):
        second = threading.Thread(
            target=message, args=("imagenet1k_v1", tmp_path), kwargs={"download": True}
        )
        second.start()
        assert not waited.wait(0.5)
    assert waited.wait(60)
    second.join(60)


def test_imagenet_weights_that_cannot_be_downloaded_are_said_to_be_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def offline(url: str, *args: object, **kwargs: object) -> None:
        raise URLError("no route to host")

    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", offline)
    found = message("imagenet1k_v1", tmp_path, download=True)
    assert "cannot be had (URLError: <urlopen error no route to host>)" in found
    assert f"/{IMAGENET_FILE} into {tmp_path}" in found
    assert "teacher.weights" in found
