"""VGG16's weights: torchvision's of ImageNet, those of a file, or random ones."""

from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from kd_models.data.fetch import downloading
from kd_models.methods.base import PretrainedWeights, WeightsError, WeightsMissing, seeded
from kd_models.methods.vgg16 import Teacher
from kd_models.values import nearest

IMAGENET, RANDOM = "imagenet1k_v1", "random"
NAMES = (IMAGENET, RANDOM)

_FEATURES = "features."


def read_teacher(source: str, downloads: Path, download: bool = True) -> PretrainedWeights:
    """Return the weights that ``source`` names.

    Args:
        source: ``imagenet1k_v1`` (torchvision's, 528 MB once), ``random`` (never by default), or
            the path of a state dict: safetensors, or ``torch.save``'s without code in it; of the
            whole of VGG16 or of its ``features``.
        downloads: the folder that torchvision's weights are kept in.
        download: whether they may be fetched if they are not there.

    Raises:
        WeightsMissing: they are not there and may not be downloaded.
        WeightsError: the message says what was wrong, and what else could be given.
    """
    if source == RANDOM:
        return PretrainedWeights(seeded(0, Teacher).state_dict())
    state = _imagenet(downloads, download) if source == IMAGENET else _read(source)
    return PretrainedWeights(_features_of(state, source))


def _imagenet(downloads: Path, download: bool) -> Mapping[str, Any]:
    # Seconds to import: only the driver of a sweep needs it.
    from torchvision.models import VGG16_Weights

    weights = VGG16_Weights.IMAGENET1K_V1
    file = downloads / Path(weights.url).name
    if not download and not file.exists():
        raise WeightsMissing(f"{file} is not there")
    try:
        with downloading(downloads) if download else nullcontext():
            state: Mapping[str, Any] = weights.get_state_dict(
                model_dir=str(downloads), progress=False, check_hash=True
            )
    except Exception as error:  # whatever the network, the disk or a damaged file come to
        raise WeightsError(
            f"torchvision's VGG16 weights cannot be had ({type(error).__name__}: {error}); put "
            f"{weights.url} into {downloads}, in place of any that is there, or give "
            "teacher.weights the path of a state dict"
        ) from None
    return state


def _read(source: str) -> Mapping[str, Any]:
    path = Path(source).expanduser()
    if not path.is_file():
        raise WeightsError(
            f"teacher weights {source!r}: there is no such file; expected {', '.join(NAMES)} or "
            f"the path of a VGG16 state dict{nearest(source, NAMES)}"
        )
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        loaded = torch.load(path, map_location="cpu", weights_only=True)
    except (SafetensorError, RuntimeError, ValueError, OSError, EOFError) as error:
        raise WeightsError(f"{path} cannot be read as a state dict: {error}") from None
    except Exception as error:  # pickle's own, of a file that holds more than tensors
        raise WeightsError(
            f"{path} is not a plain state dict ({type(error).__name__}); save it with "
            "torch.save(network.state_dict(), path), or as safetensors"
        ) from None
    if not isinstance(loaded, Mapping) or not all(isinstance(name, str) for name in loaded):
        raise WeightsError(f"{path} holds {type(loaded).__name__}, not a state dict")
    return loaded


def _features_of(state: Mapping[str, Any], source: str) -> dict[str, Tensor]:
    """Return the convolutions' part of a state dict, checked for names, shapes and numbers."""
    if any(name.startswith(_FEATURES) for name in state):
        state = {name: value for name, value in state.items() if name.startswith(_FEATURES)}
    else:
        state = {f"{_FEATURES}{name}": value for name, value in state.items()}
    with torch.device("meta"):
        wanted = Teacher().state_dict()
    for name in sorted(wanted.keys() | state.keys()):
        if name not in state:
            raise WeightsError(
                f"{source} is not VGG16's: it has no {name} (expected the state dict of "
                "torchvision's vgg16(), or of its features)"
            )
        if name not in wanted:
            raise WeightsError(f"{source} is not VGG16's: it has {name}")
        shape, right = getattr(state[name], "shape", None), wanted[name].shape
        if shape != right:
            raise WeightsError(f"{source}: {name} is {shape}, expected {tuple(right)}")
        if not torch.isfinite(state[name]).all():
            raise WeightsError(f"{source}: {name} is not finite everywhere")
    return dict(state)
