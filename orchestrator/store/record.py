"""What a stored stage holds, and how it is spelled in files."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.numpy import load as load_arrays
from safetensors.numpy import save as save_arrays
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor

from kd_models.evaluation.localisation import Localisation, Shown
from kd_models.methods.base import NetworkStates
from orchestrator.console import Say
from orchestrator.planning.keys import canonical_json
from orchestrator.planning.stage import Stage
from orchestrator.store.stages import CorruptStage, Store

NETWORKS, SCORES, HISTORY, IDENTITY, RUN, SHOWN, CAPTIONS = (
    "networks.safetensors",
    "scores.safetensors",
    "history.json",
    "identity.json",
    "run.json",
    "shown.safetensors",
    "shown.json",
)

History = Sequence[Mapping[str, float]]
"""one row per epoch: ``epoch`` (from 1), ``seconds``, every term, AUROCs where evaluated"""


@dataclass(frozen=True)
class ScoredSplit:
    """Novelty scores of the whole test split, in its order."""

    scores: NDArray[np.float64]
    novel: NDArray[np.bool_]
    labels: NDArray[np.int64]


def write_stage(
    store: Store,
    stage: Stage,
    networks: NetworkStates,
    scores: ScoredSplit,
    history: History,
    lanes: int,
    localisation: Localisation | None = None,
) -> None:
    """Store a finished stage.

    Args:
        store: the store.
        stage: the stage.
        networks: what it trained.
        scores: of its test split.
        history: its epochs.
        lanes: how many were to train at once, since that changes a result by rounding.
        localisation: its heat maps, if it has any.
    """
    flat = {
        f"{network}/{name}": tensor.detach().cpu().contiguous()
        for network, weights in networks.items()
        for name, tensor in weights.items()
    }
    pictures = {} if localisation is None else _shown_files(localisation.shown)
    store.write(
        stage.key,
        {
            **pictures,
            NETWORKS: save_tensors(flat),
            SCORES: save_arrays(
                {"scores": scores.scores, "novel": scores.novel, "labels": scores.labels}
            ),
            HISTORY: json.dumps(list(map(dict, history))).encode(),
            RUN: json.dumps({"lanes": lanes}).encode(),
            IDENTITY: canonical_json(stage.identity).encode(),
        },
    )


def read_networks(store: Store, key: str) -> dict[str, dict[str, Tensor]]:
    """Return the state dicts of the networks a stage trained, by name."""
    networks: dict[str, dict[str, Tensor]] = {}
    for path, tensor in load_tensors(store.read(key, NETWORKS)).items():
        network, _, name = path.partition("/")
        networks.setdefault(network, {})[name] = tensor
    return networks


def read_scores(store: Store, stage: Stage) -> ScoredSplit:
    """Return the novelty scores that a stage was stored with."""
    arrays = load_arrays(store.read(stage.key, SCORES))
    return ScoredSplit(arrays["scores"], arrays["novel"], arrays["labels"])


def read_history(store: Store, stage: Stage) -> History:
    """Return the epochs that a stage was stored with."""
    history: History = json.loads(store.read(stage.key, HISTORY))
    return history


def _shown_files(shown: tuple[Shown, ...]) -> dict[str, bytes]:
    arrays: dict[str, NDArray[Any]] = {}
    for index, one in enumerate(shown):
        arrays |= {f"{index}/image": one.image, f"{index}/heat": one.heat}
        arrays |= {f"{index}/layer/{layer}": maps for layer, maps in one.layers.items()}
        if one.mask is not None:
            arrays[f"{index}/mask"] = one.mask
    captions = [{"caption": s.caption, "novel": s.novel, "score": s.score} for s in shown]
    contiguous = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    return {SHOWN: save_arrays(contiguous), CAPTIONS: json.dumps(captions).encode()}


def read_shown(store: Store, stage: Stage) -> tuple[Shown, ...]:
    """Return the images that a stage was stored with; none where its step does not localise."""
    if not stage.step.localises:
        return ()
    arrays = load_arrays(store.read(stage.key, SHOWN))

    def layers_of(index: int) -> dict[int, NDArray[np.float32]]:
        prefix = f"{index}/layer/"
        names = sorted(name for name in arrays if name.startswith(prefix))
        return {int(name.removeprefix(prefix)): arrays[name] for name in names}

    return tuple(
        Shown(
            **caption,
            image=arrays[f"{index}/image"],
            heat=arrays[f"{index}/heat"],
            mask=arrays.get(f"{index}/mask"),
            layers=layers_of(index),
        )
        for index, caption in enumerate(json.loads(store.read(stage.key, CAPTIONS)))
    )


def damaged_stages(store: Store, stages: Iterable[Stage], say: Say) -> frozenset[str]:
    """Return the keys of those stored stages of which a byte is not as it was written.

    Every byte of them is read.

    Raises:
        StoreError: the store cannot be reached.
    """
    damaged = set()
    for stage in stages:
        try:
            store.verify(stage.key)
            check_identity(store, stage)
        except KeyError:
            continue  # it is not there
        except CorruptStage as error:
            say(f"warning: {stage.title} will be trained again: {error.what}")
            damaged.add(stage.key)
    return frozenset(damaged)


def check_identity(store: Store, stage: Stage) -> None:
    """Compare the stored identity with the one the key was made of.

    Raises:
        CorruptStage: they differ; the message shows where.
    """
    stored = json.loads(store.read(stage.key, IDENTITY))
    differing = _differences(stored, json.loads(canonical_json(stage.identity)))
    if differing:
        raise CorruptStage(f"stage {stage.key} holds something else: {'; '.join(differing)}")


def _differences(stored: Any, wanted: Any, where: str = "") -> list[str]:
    if isinstance(stored, dict) and isinstance(wanted, dict):
        return [
            line
            for name in sorted(stored.keys() | wanted.keys())
            for line in _differences(stored.get(name), wanted.get(name), f"{where}.{name}")
        ]
    return [] if stored == wanted else [f"{where[1:]} is {stored!r}, not {wanted!r}"]


def to_scored_split(scores: Tensor, novel: Tensor, labels: Tensor) -> ScoredSplit:
    """Bring a split's scores to the form metrics take."""
    return ScoredSplit(
        scores.detach().to("cpu", torch.float64).numpy(),
        novel.cpu().numpy(),
        labels.cpu().numpy(),
    )
