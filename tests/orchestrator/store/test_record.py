"""What a stored stage holds: everything written is read back as it was."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from orchestrator.planning.keys import canonical_json
from orchestrator.planning.plan import Plan
from orchestrator.planning.stage import Stage
from orchestrator.store import open_store
from orchestrator.store.record import (
    HISTORY,
    IDENTITY,
    NETWORKS,
    RUN,
    SCORES,
    ScoredSplit,
    check_identity,
    damaged_stages,
    read_history,
    read_networks,
    read_scores,
    to_scored_split,
    write_stage,
)
from orchestrator.store.stages import CorruptStage, Store


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return open_store(str(tmp_path / "store"))


@pytest.fixture(scope="module")
def stage(plan_of: Callable[..., Plan]) -> Stage:
    return list(plan_of().stages.values())[-1]


SCORED = ScoredSplit(
    np.array([0.1, 1 / 3, 5e-324]), np.array([False, True, True]), np.array([4, 9, 9])
)


def test_networks_come_back_as_they_were(store: Store, stage: Stage) -> None:
    generator = torch.nn.Sequential(torch.nn.Conv2d(1, 4, 3), torch.nn.BatchNorm2d(4))
    # The layout that fit trains in, gradients and all.
    generator = generator.to(memory_format=torch.channels_last)
    critic = torch.nn.Linear(2, 1)
    weights = {
        "student.generator": dict(generator.named_parameters()) | dict(generator.named_buffers()),
        "student.discriminator": critic.state_dict(),
    }
    write_stage(store, stage, weights, SCORED, [], lanes=1)
    found = read_networks(store, stage.key)
    assert {n: set(w) for n, w in found.items()} == {n: set(w) for n, w in weights.items()}
    for network, tensors in weights.items():
        for name, tensor in tensors.items():
            assert found[network][name].dtype == tensor.dtype
            assert torch.equal(found[network][name], tensor.detach())
    generator.load_state_dict(found["student.generator"])


def test_histories_come_back_as_they_were(store: Store, stage: Stage) -> None:
    history = [
        {"epoch": 1, "seconds": 0.1, "kd/k1": 1 / 3},
        {"epoch": 2, "seconds": 0.2, "kd/k1": 1e-300, "auroc": 0.5},
    ]
    write_stage(store, stage, {}, SCORED, history, lanes=1)
    assert read_history(store, stage) == history


@given(
    arrays(np.float64, st.shared(st.integers(1, 20), key="n"), elements={"allow_nan": False}),
    arrays(np.bool_, st.shared(st.integers(1, 20), key="n")),
    arrays(np.int64, st.shared(st.integers(1, 20), key="n")),
)
@settings(max_examples=20, deadline=None)
def test_scores_come_back_bit_for_bit(
    tmp_path_factory: pytest.TempPathFactory,
    stage: Stage,
    scores: np.ndarray,
    novel: np.ndarray,
    labels: np.ndarray,
) -> None:
    store = open_store(str(tmp_path_factory.mktemp("store")))
    write_stage(store, stage, {}, ScoredSplit(scores, novel, labels), [], lanes=1)
    found = read_scores(store, stage)
    for name, array in (("scores", scores), ("novel", novel), ("labels", labels)):
        assert getattr(found, name).dtype == array.dtype
        np.testing.assert_array_equal(getattr(found, name), array)


def test_the_identity_lies_beside_what_it_is_the_identity_of(store: Store, stage: Stage) -> None:
    write_stage(store, stage, {}, SCORED, [], lanes=1)
    assert json.loads(store.read(stage.key, IDENTITY)) == json.loads(canonical_json(stage.identity))
    check_identity(store, stage)


def test_a_wrong_identity_is_shown_field_by_field(store: Store, stage: Stage) -> None:
    recipe = stage.recipe.model_copy(update={"lr": 0.5})
    step = replace(stage.step_with_recipe, recipe=recipe)
    other = replace(stage, step_with_recipe=step, seed=7, fingerprint="elsewhere")
    files = {IDENTITY: canonical_json(other.identity).encode()}
    store.write(stage.key, files)
    with pytest.raises(CorruptStage) as caught:
        check_identity(store, stage)
    assert caught.value.what == (
        f"stage {stage.key} holds something else: config.recipe.lr is 0.5, not 0.002; "
        "config.seed is 7, not 0; fingerprint is 'elsewhere', not 'fingerprint of digits'"
    )


def test_an_identity_with_a_field_too_many_or_too_few_is_wrong(store: Store, stage: Stage) -> None:
    identity = json.loads(canonical_json(stage.identity))
    del identity["config"]["seed"]
    identity["config"]["sed"] = 1
    store.write(stage.key, {IDENTITY: json.dumps(identity).encode()})
    with pytest.raises(CorruptStage) as caught:
        check_identity(store, stage)
    assert "config.sed is 1, not None; config.seed is None, not 0" in str(caught.value)


def test_another_stages_parents_are_a_difference(store: Store, stage: Stage) -> None:
    write_stage(store, stage, {}, SCORED, [], lanes=1)
    orphan = replace(stage, parents=())
    store.write(orphan.key, {IDENTITY: store.read(stage.key, IDENTITY)})
    with pytest.raises(CorruptStage, match=r"parents is \['[0-9a-f]{64}'\], not \[\]"):
        check_identity(store, orphan)


def test_all_files_are_there(store: Store, stage: Stage) -> None:
    write_stage(store, stage, {}, SCORED, [], lanes=16)
    for name in (NETWORKS, SCORES, HISTORY, IDENTITY):
        assert store.read(stage.key, name)
    assert json.loads(store.read(stage.key, RUN)) == {"lanes": 16}


def test_damaged_stages_are_named_and_others_are_not(
    store: Store, stage: Stage, blob_of: Callable[..., Path]
) -> None:
    said: list[str] = []
    missing, other = replace(stage, seed=7), replace(stage, seed=8)
    for each in (stage, other):
        write_stage(store, each, {}, SCORED, [{"epoch": 1.0, "seed": each.seed}], lanes=1)
    assert damaged_stages(store, (stage, other, missing), said.append) == frozenset()
    blob_of(store, stage.key, HISTORY).write_bytes(b"[]")
    assert damaged_stages(store, (stage, other, missing), said.append) == {stage.key}
    (line,) = said
    assert line.startswith(f"warning: {stage.title} will be trained again: ")
    assert HISTORY in line


def test_what_is_not_there_is_a_key_error(store: Store, stage: Stage) -> None:
    for read in (lambda: read_networks(store, stage.key), lambda: read_scores(store, stage)):
        with pytest.raises(KeyError, match=stage.key):
            read()


def test_scores_of_a_network_become_arrays_of_double() -> None:
    scores = torch.tensor([0.25, 3.0], requires_grad=True)
    found = to_scored_split(scores, torch.tensor([False, True]), torch.tensor([0, 5]))
    assert found.scores.dtype == np.float64
    assert found.scores.tolist() == [0.25, 3.0]
    assert found.novel.tolist() == [False, True]
    assert found.labels.tolist() == [0, 5]
