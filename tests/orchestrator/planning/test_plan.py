"""From a spec to candidates, distinct stages and packs."""

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kd_models.data import DataError, dataset_row
from kd_models.methods.pkdgan.settings import LossWeights
from kd_models.methods.pkdgan.structures import CHAINS
from kd_models.recipe import Recipe
from orchestrator.planning.keys import canonical_json, sha256
from orchestrator.planning.pack import Pack
from orchestrator.planning.plan import DatasetFacts, Plan, make_plan
from orchestrator.planning.spec import SpecError, SweepSpec
from orchestrator.planning.stage import Stage
from orchestrator.planning.sweep_file import read_spec

PAPER = Path(__file__).parents[3] / "jobs/sweeps/pkdgan-paper.yaml"
SIX = ["kdgan-1", "kdgan-2", "kdgan-3", "kdgan-4", "p-kdgan-23", "p-kdgan-24"]

PlanOf = Callable[..., Plan]


@pytest.fixture(scope="module")
def paper(plan_of: PlanOf) -> Plan:
    return plan_of(read_spec(PAPER, ["baselines=[]"]))


def names(stages: Iterator[Stage] | list[Stage]) -> list[str]:
    return [stage.step.name for stage in stages]


# Counts


def test_the_paper_in_numbers(paper: Plan) -> None:
    assert len(paper.candidates) == 540
    assert paper.stages_by_kind == {"teacher": 90, "student": 540}
    assert paper.stages_without_sharing == {"teacher": 540, "student": 720}
    assert paper.stages_by_step == {
        "teacher": 90,
        "kdgan-1": 90,
        "kdgan-2": 90,
        "kdgan-3": 180,
        "kdgan-4": 180,
    }
    assert len(paper.packs()) == 21
    assert paper.epochs() == 630 * 500
    assert paper.epochs_without_sharing == 1260 * 500
    recipe = Recipe(epochs=500, batch_size=1, lr=0.002, betas=(0.5, 0.999), schedule="constant")
    assert {stage.recipe for stage in paper.stages.values()} == {recipe}


def test_ten_teachers_serve_six_structures_and_three_weightings(plan_of: PlanOf) -> None:
    weightings = [{"k1": k1} for k1 in (0.5, 1, 2)]
    plan = plan_of(normal_classes="all", structures=SIX, loss_weights=weightings)
    assert len(plan.candidates) == 180
    assert plan.stages_by_kind == {"teacher": 10, "student": 180}
    assert plan.stages_without_sharing["teacher"] == 180


def test_kdgan_2_is_trained_once_for_itself_and_for_both_chains(plan_of: PlanOf) -> None:
    plan = plan_of(structures=["kdgan-2", "p-kdgan-23", "p-kdgan-24"])
    alone, chain_23, chain_24 = (candidate.stages for candidate in plan.candidates)
    assert alone == chain_23[:2] == chain_24[:2]
    assert chain_23[2] != chain_24[2]
    assert names(list(plan.stages.values())) == ["teacher", "kdgan-2", "kdgan-3", "kdgan-4"]


def test_a_second_step_is_not_the_structure_on_its_own(plan_of: PlanOf) -> None:
    plan = plan_of(structures=["kdgan-3", "p-kdgan-23"], second_step={"lr": 0.002})
    on_its_own, second = (plan.stages[candidate.key] for candidate in plan.candidates)
    assert on_its_own.step_with_recipe == second.step_with_recipe
    assert on_its_own.key != second.key


def test_a_student_alone_needs_no_teacher(plan_of: PlanOf) -> None:
    plan = plan_of(structures=["alone"])
    (stage,) = plan.stages.values()
    assert stage.kind == "student"
    assert stage.parents == ()
    assert stage.step.teacher is None
    assert plan.stages_by_kind == {"teacher": 0, "student": 1}


def test_seeds_share_nothing(plan_of: PlanOf) -> None:
    plan = plan_of(seeds=[0, 1])
    first, second = (set(candidate.stages) for candidate in plan.candidates)
    assert not first & second


def test_naming_something_twice_asks_for_it_once(plan_of: PlanOf) -> None:
    plan = plan_of(
        datasets=["digits", "digits"],
        normal_classes=[0, "0"],
        structures=["kdgan-2", "kdgan-2"],
        seeds=[1, 1],
        student_widths=[(1, 2, 4), (1, 2, 4)],
    )
    assert len(plan.candidates) == 1
    assert len(plan.stages) == 2


def test_paper_widths_are_the_datasets_own(plan_of: PlanOf) -> None:
    plan = plan_of(datasets=["cifar10", "mnist", "fmnist"], student_widths="paper")
    widths = {c.dataset: tuple(c.axes["student_widths"]) for c in plan.candidates}
    assert widths == {"cifar10": (8, 16, 64), "mnist": (2, 4, 8), "fmnist": (1, 2, 4)}
    channels = {s.dataset: s.step.teacher for s in plan.stages.values()}
    assert {name: network and network.channels for name, network in channels.items()} == {
        "cifar10": 3,
        "mnist": 1,
        "fmnist": 1,
    }


@given(
    classes=st.integers(1, 4),
    structures=st.sets(st.sampled_from(SIX), min_size=1),
    widths=st.integers(1, 2),
    weights=st.integers(1, 3),
    seeds=st.integers(1, 3),
)
@settings(max_examples=40, deadline=None)
def test_candidates_are_the_product_of_the_axes_and_stages_what_is_distinct_in_it(
    plan_of: PlanOf, classes: int, structures: set[str], widths: int, weights: int, seeds: int
) -> None:
    plan = plan_of(
        normal_classes=list(range(classes)),
        structures=sorted(structures),
        student_widths=[(1, 2, 4 + n) for n in range(widths)],
        loss_weights=[{"k1": 1 + n} for n in range(weights)],
        seeds=list(range(seeds)),
    )
    students = classes * widths * weights * seeds
    assert len(plan.candidates) == students * len(structures)
    assert len({candidate.key for candidate in plan.candidates}) == len(plan.candidates)
    starts = {CHAINS[name][: n + 1] for name in structures for n in range(len(CHAINS[name]))}
    assert plan.stages_by_kind == {"teacher": classes * seeds, "student": students * len(starts)}
    seen: set[str] = set()
    for key, stage in plan.stages.items():
        assert key == stage.key
        assert seen.issuperset(stage.parents)
        seen.add(key)
    assert {key for c in plan.candidates for key in c.stages} == seen
    assert set(plan.candidate_of) == {c.key for c in plan.candidates}


def test_parents_come_before_children_in_the_largest_plan(paper: Plan) -> None:
    place = {key: n for n, key in enumerate(paper.stages)}
    for stage in paper.stages.values():
        assert all(place[parent] < place[stage.key] for parent in stage.parents)


def test_parents_are_the_earlier_steps_oldest_first(plan_of: PlanOf) -> None:
    plan = plan_of(structures=["p-kdgan-24"])
    (candidate,) = plan.candidates
    stages = [plan.stages[key] for key in candidate.stages]
    assert names(stages) == ["teacher", "kdgan-2", "kdgan-4"]
    for n, stage in enumerate(stages):
        assert stage.parents == candidate.stages[:n]
    assert candidate.key == stages[-1].key


# Keys

GOLDEN = {
    "teacher": "f92b9a0ae750a3db32fa594eba422a98653329a6b0597457589c068b52dc0e7d",
    "kdgan-2": "8d8b791730ea95dde5197e1122207b1d7fe521a55c15007abc69db5016619168",
    "kdgan-4": "bdabc6df06a829426e5eb92b6d2969660b7882e05118bc39b828772035fb8998",
}
"""Stages under these keys lie in people's stores. A change here makes every one of them be trained
again: it has to be meant. Another process, with another hash seed, computed these."""


def test_keys_are_what_they_always_were() -> None:
    raw = {
        "name": "any",
        "datasets": ["digits"],
        "baselines": [],
        "scores": ["paper"],
        "normal_classes": [0],
        "structures": ["p-kdgan-24"],
        "distance": "mse",  # the default when these were computed
        "second_step": {"lr": 0.002},  # so was this
    }
    spec = SweepSpec.model_validate(raw)
    plan = make_plan(spec, {"digits": DatasetFacts(dataset_row("digits"), "0" * 64)})
    assert {stage.step.name: key for key, stage in plan.stages.items()} == GOLDEN


def test_key_is_the_hash_of_the_identity(plan_of: PlanOf) -> None:
    for stage in plan_of(structures=["p-kdgan-24"]).stages.values():
        assert stage.key == sha256(canonical_json(stage.identity))
        encoded = json.loads(canonical_json(stage.identity))
        assert encoded["config"]["step"] == stage.step.model_dump(mode="json")
        assert encoded["config"]["recipe"] == stage.recipe.model_dump(mode="json")
        assert canonical_json(encoded) == canonical_json(stage.identity)


EVERYTHING = {
    "structures": ["p-kdgan-24"],
    "teacher": {"widths": (1, 2, 4), "joint": False},
    "scores": ["calibrated"],
    "loss_weights": [{}],
}
"""With changes on top: a sweep whose one student depends on every setting there is."""

RESULT_BEARING: dict[str, Any] = {
    "datasets": ["mnist"],
    "normal_classes": [1],
    "structures": ["p-kdgan-23"],
    "scores": ["paper"],
    "calibration.shrinkage": 0.5,
    "calibration.whitening": 0.75,
    "calibration.components": 7,
    "calibration.prototypes": 5,
    "student_widths": [(1, 2, 5)],
    "loss_weights.con": 9.0,
    "loss_weights.enc": 2.0,
    "loss_weights.adv": 2.0,
    "loss_weights.k1": 2.0,
    "loss_weights.kx": 2.0,
    "loss_weights.k2": 2.0,
    "seeds": [1],
    "training.epochs": 3,
    "training.batch_size": 33,
    "training.lr": 0.003,
    "training.betas": (0.5, 0.99),
    "training.schedule": "constant",
    "second_step.epochs": 3,
    "second_step.batch_size": 33,
    "second_step.lr": 0.003,
    "second_step.betas": (0.4, 0.999),
    "second_step.schedule": "constant",
    "teacher.widths": (1, 2, 5),
    "teacher.loss_weights.con": 9.0,
    "teacher.loss_weights.enc": 2.0,
    "teacher.loss_weights.adv": 2.0,
    "teacher.training.epochs": 3,
    "teacher.training.batch_size": 33,
    "teacher.training.lr": 0.003,
    "teacher.training.betas": (0.4, 0.999),
    "teacher.training.schedule": "constant",
    "teacher.joint": True,
    "normalisation": "per-image",
    "distance": "mse",
}

RESULT_FREE: dict[str, Any] = {
    "name": "other",
    "unreadable_images": "skip",
    "max_megapixels": 500,
    "evaluation.protocol": "paper",
    "evaluation.every": 2,
    "resources.workers": 2,
    "resources.cpus_per_worker": 0.5,
    "resources.gpus_per_worker": 1,
    "resources.concurrent_trials": 3,
    "resources.lanes": 3,
    "resources.retries": 0,
    "resources.checkpoint_every": 1,
    "resources.scale_up_minutes": 1.0,
    "resources.reuse_trials": False,
    "resources.teacher_cache_gib": 1.0,
    "storage.root": "/somewhere",
    "storage.store": "/somewhere/store",
    "storage.data": "/somewhere/data",
    "storage.tracking_uri": "http://somewhere",
    "storage.s3.endpoint_url": "http://elsewhere",
    "storage.s3.region": "eu-central-1",
}


def changed(spec: SweepSpec, setting: str, value: Any) -> SweepSpec:
    """A copy of the spec with one dotted setting changed and nothing else."""
    raw = spec.as_written()
    *groups, name = setting.split(".")
    inner = raw
    for group in groups:
        inner = inner[group]
        inner = inner[0] if isinstance(inner, (list, tuple)) else inner
    assert name in inner
    assert inner[name] != value
    inner[name] = value
    return SweepSpec.model_validate(raw)


def leaves(value: Any, path: str = "") -> Iterator[str]:
    if path == "loss_weights":
        value = value[0]
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from leaves(inner, f"{path}.{name}".strip("."))
    else:
        yield path


@pytest.fixture(scope="module")
def everything(spec_of: Callable[..., SweepSpec]) -> SweepSpec:
    return spec_of(**EVERYTHING)


def test_every_setting_there_is_stands_in_one_of_the_two_lists(everything: SweepSpec) -> None:
    elsewhere = {"method", "baselines", "recipe"}
    listed = [*RESULT_BEARING, *RESULT_FREE, *elsewhere]
    assert sorted(listed) == sorted(leaves(everything.as_written()))


def student_key(plan: Plan) -> str:
    (candidate,) = plan.candidates
    return candidate.key


@pytest.mark.parametrize("setting", RESULT_BEARING)
def test_a_setting_that_bears_on_the_result_changes_the_key(
    plan_of: PlanOf, everything: SweepSpec, setting: str
) -> None:
    other = changed(everything, setting, RESULT_BEARING[setting])
    assert student_key(plan_of(other)) != student_key(plan_of(everything))


@pytest.mark.parametrize("setting", RESULT_FREE)
def test_where_and_how_a_stage_runs_is_no_part_of_its_key(
    plan_of: PlanOf, everything: SweepSpec, setting: str
) -> None:
    other = changed(everything, setting, RESULT_FREE[setting])
    assert plan_of(other).stages.keys() == plan_of(everything).stages.keys()


def test_all_changes_lead_to_different_keys(plan_of: PlanOf, everything: SweepSpec) -> None:
    keys = {
        setting: student_key(plan_of(changed(everything, setting, value)))
        for setting, value in RESULT_BEARING.items()
    }
    assert len(set(keys.values())) == len(RESULT_BEARING)


def test_content_of_the_dataset_is_part_of_the_key(spec_of: Callable[..., SweepSpec]) -> None:
    row = dataset_row("digits")
    one, other = (
        make_plan(spec_of(), {"digits": DatasetFacts(row, fingerprint)}) for fingerprint in "ab"
    )
    assert not one.stages.keys() & other.stages.keys()


def test_parents_are_part_of_the_key(plan_of: PlanOf) -> None:
    stage = plan_of().stages[plan_of().candidates[0].key]
    keys = {
        replace(stage, parents=parents).key
        for parents in [(), ("a",), ("b",), ("a", "b"), ("b", "a")]
    }
    assert len(keys) == 5


def test_where_a_folder_dataset_lies_is_no_part_of_the_key(
    spec_of: Callable[..., SweepSpec],
) -> None:
    keys = []
    for folder in ("/here/parts", "/there/parts-copy"):
        spec = spec_of(datasets=[f"folder:{folder}"], normal_classes="all")
        row = dataset_row(f"folder:{folder}")
        plan = make_plan(spec, {f"folder:{folder}": DatasetFacts(row, "same content")})
        keys.append(list(plan.stages))
        assert plan.candidates[0].dataset == f"folder:{folder}"
        assert all(s.dataset == f"folder:{folder}" for s in plan.stages.values())
    assert keys[0] == keys[1]


@pytest.mark.parametrize(
    ("spelling", "other"),
    [
        ({"normal_classes": [3]}, {"normal_classes": ["3"]}),
        ({"training": {"lr": 1}}, {"training": {"lr": 1.0}}),
        ({"loss_weights": [{"con": 10}]}, {"loss_weights": [{"con": 10.0}]}),
        ({"loss_weights": [{}]}, {"loss_weights": [{"con": 10.0, "k1": 1}]}),
        ({"training": {}}, {"training": {"epochs": 30, "schedule": "cosine"}}),
    ],
)
def test_spelling_is_no_part_of_the_key(
    plan_of: PlanOf, spelling: dict[str, Any], other: dict[str, Any]
) -> None:
    assert list(plan_of(**spelling).stages) == list(plan_of(**other).stages)


def test_a_class_is_the_same_by_name_and_by_number(plan_of: PlanOf) -> None:
    by_name = plan_of(datasets=["cifar10"], normal_classes=["Cat"])
    by_number = plan_of(datasets=["cifar10"], normal_classes=[3])
    assert student_key(by_name) == student_key(by_number)
    assert by_name.candidates[0].normal_class == "3"


@pytest.mark.parametrize(
    ("structure", "unused"),
    [
        ("kdgan-1", ("con", "enc", "adv")),
        ("kdgan-3", ("con", "enc", "adv")),
        ("alone", ("k1", "kx", "k2")),
        ("kdgan-2", ()),
        ("kdgan-4", ()),
        ("p-kdgan-23", ()),
    ],
)
def test_weights_of_losses_not_in_use_make_no_other_student(
    plan_of: PlanOf, structure: str, unused: tuple[str, ...]
) -> None:
    fields = tuple(LossWeights.model_fields)
    for name in fields:
        plan = plan_of(structures=[structure], loss_weights=[{}, {name: 7}])
        assert len(plan.candidates) == (1 if name in unused else 2), name
        students = len(CHAINS[structure]) * len(plan.candidates)
        assert plan.stages_by_kind["student"] == students, name


def test_a_zero_weight_is_another_student_but_the_same_structure(plan_of: PlanOf) -> None:
    plan = plan_of(loss_weights=[{}, {"adv": 0}])
    plain, without = (plan.stages[candidate.key] for candidate in plan.candidates)
    assert plain.key != without.key
    assert plain.step.name == without.step.name


@pytest.mark.parametrize("structure", ["kdgan-1", "kdgan-2"])
def test_joint_training_means_nothing_where_the_teacher_is_fixed(
    plan_of: PlanOf, structure: str
) -> None:
    joint = {"widths": (1, 2, 4), "joint": True}
    plain = plan_of(structures=[structure])
    assert list(plan_of(structures=[structure], teacher=joint).stages) == list(plain.stages)


def test_only_the_step_that_trains_the_teacher_jointly_is_another(plan_of: PlanOf) -> None:
    joint = {"widths": (1, 2, 4), "joint": True}
    plain = plan_of(structures=["p-kdgan-23"]).candidates[0]
    other = plan_of(structures=["p-kdgan-23"], teacher=joint).candidates[0]
    assert plain.stages[:2] == other.stages[:2]
    assert plain.key != other.key


def test_the_teachers_own_recipe_is_the_teachers_alone(plan_of: PlanOf) -> None:
    plan = plan_of(
        structures=["p-kdgan-24"], teacher={"widths": (1, 2, 4), "training": {"epochs": 9}}
    )
    epochs = {s.step.name: s.recipe.epochs for s in plan.stages.values()}
    assert epochs == {"teacher": 9, "kdgan-2": 2, "kdgan-4": 2}


def test_roles_that_a_step_does_not_use_are_left_out(plan_of: PlanOf) -> None:
    plan = plan_of(structures=["kdgan-1", "kdgan-3", "kdgan-4", "alone"])
    used = {
        stage.step.name: {
            name
            for name in (
                "teacher",
                "student",
                "teacher_weights",
                "student_weights",
                "distillation_weights",
            )
            if getattr(stage.step, name) is not None
        }
        for stage in plan.stages.values()
    }
    assert used == {
        "teacher": {"teacher", "teacher_weights"},
        "kdgan-1": {"teacher", "student", "distillation_weights"},
        "kdgan-3": {"teacher", "student", "distillation_weights", "teacher_weights"},
        "kdgan-4": {
            "teacher",
            "student",
            "distillation_weights",
            "teacher_weights",
            "student_weights",
        },
        "alone": {"student", "student_weights"},
    }


# Packs


def test_packs_are_what_the_store_lacks(plan_of: PlanOf) -> None:
    plan = plan_of(structures=["p-kdgan-23"])
    teacher, first, second = plan.candidates[0].stages
    assert [pack.key for pack in plan.packs()] == [teacher, first, second]
    assert [pack.key for pack in plan.packs(frozenset({teacher}))] == [first, second]
    assert [pack.key for pack in plan.packs(frozenset({first}))] == [teacher, second]
    assert plan.packs(frozenset(plan.stages)) == ()


def test_epochs_left_are_those_of_what_the_store_lacks(plan_of: PlanOf) -> None:
    teacher = {"widths": (1, 2, 4), "training": {"epochs": 9}}
    plan = plan_of(structures=["p-kdgan-23"], teacher=teacher)
    assert plan.epochs() == 9 + 2 + 2
    assert plan.epochs(frozenset({plan.candidates[0].stages[0]})) == 4
    assert plan.epochs(frozenset(plan.stages)) == 0


def test_a_pack_of_one_has_its_stages_key_and_parents(plan_of: PlanOf) -> None:
    for pack in plan_of(structures=["p-kdgan-23"]).packs():
        (stage,) = pack.stages
        assert pack.key == stage.key
        assert pack.parents == set(stage.parents)


def test_a_pack_of_many_has_a_key_of_its_own_and_all_parents(plan_of: PlanOf) -> None:
    plan = plan_of(normal_classes=[0, 1])
    students = tuple(plan.stages[candidate.key] for candidate in plan.candidates)
    pack, other_order = Pack.of(students), Pack.of(students[::-1])
    assert pack.parents == {*students[0].parents, *students[1].parents}
    assert len({pack.key, other_order.key, *(stage.key for stage in students)}) == 4


def shapes(plan: Plan, **how: Any) -> list[tuple[str, int]]:
    """By pack, what its stages train and how many they are."""
    return [(pack.stages[0].step.name, len(pack.stages)) for pack in plan.packs(**how)]


def test_stages_that_differ_in_class_seed_or_loss_weights_are_packed(plan_of: PlanOf) -> None:
    plan = plan_of(
        normal_classes=[0, 1, 2],
        seeds=[0, 1],
        structures=["kdgan-2", "p-kdgan-24"],
        loss_weights=[{}, {"con": 1.0, "k2": 0.0}],
    )
    assert shapes(plan) == [("teacher", 6), ("kdgan-2", 12), ("kdgan-4", 12)]


@pytest.mark.parametrize(
    "changes",
    [
        {"student_widths": [(1, 2, 4), (2, 4, 8)]},
        {"structures": ["kdgan-2", "kdgan-1"]},
        {"datasets": ["digits", "mnist"]},
        # The same step, once first and once after another.
        {"structures": ["kdgan-4", "p-kdgan-24"]},
    ],
)
def test_stages_of_another_shape_are_not_packed(changes: dict[str, Any], plan_of: PlanOf) -> None:
    for pack in plan_of(normal_classes=[0, 1], **changes).packs():
        assert len(pack.stages) == 2
        assert len({(s.dataset, s.step.lane_group) for s in pack.stages}) == 1


def test_there_are_packs_for_every_trial_that_can_run(plan_of: PlanOf) -> None:
    plan = plan_of(normal_classes="all", structures=["kdgan-1", "kdgan-2"])
    assert shapes(plan, concurrent=4) == [
        *[("teacher", n) for n in (2, 3, 2, 3)],
        *[("kdgan-1", 5)] * 2,
        *[("kdgan-2", 5)] * 2,
    ]
    assert [n for _, n in shapes(plan, concurrent=99)] == [1] * 30
    assert [n for _, n in shapes(plan_of(seeds=list(range(130))))] == [43, 43, 44] * 2


@given(finished=st.sets(st.integers(0, 29)), concurrent=st.integers(1, 12))
def test_what_is_finished_changes_no_packs_name_and_loses_no_stage(
    finished: set[int], concurrent: int, plan_of: PlanOf
) -> None:
    plan = plan_of(normal_classes="all", structures=["p-kdgan-23"])
    keys = frozenset(key for place, key in enumerate(plan.stages) if place in finished)
    packs = plan.packs(keys, concurrent=concurrent)
    whole = {pack.key: pack for pack in plan.packs(concurrent=concurrent)}
    left = [stage.key for pack in packs for stage in pack.stages]
    assert left == [key for key in plan.stages if key not in keys]
    for pack in packs:
        assert set(pack.stages) <= set(whole[pack.key].stages)
        assert not set(pack.parents) & {stage.key for stage in pack.stages}


# Mistakes, words


def test_a_class_that_the_dataset_does_not_have(plan_of: PlanOf) -> None:
    with pytest.raises(DataError, match=r"cifar10 has no class 'hrse'.*did you mean horse\?"):
        plan_of(datasets=["cifar10"], normal_classes=["hrse"])
    with pytest.raises(DataError, match="digits has no class 10"):
        plan_of(normal_classes=[0, 10])


@pytest.mark.parametrize("value", [1.5, None, [0, 1]])
def test_a_class_that_cannot_be_one(plan_of: PlanOf, value: Any) -> None:
    with pytest.raises(ValueError, match="normal_classes"):
        plan_of(normal_classes=[value])


def test_a_mapping_of_classes_without_the_dataset(plan_of: PlanOf) -> None:
    with pytest.raises(SpecError, match="normal_classes has no entry for dataset digits"):
        plan_of(normal_classes={"mnist": "all"})


def test_classes_by_dataset(plan_of: PlanOf) -> None:
    plan = plan_of(
        datasets=["digits", "cifar10"], normal_classes={"digits": [7], "cifar10": ["cat", 0]}
    )
    found = [(candidate.dataset, candidate.normal_class) for candidate in plan.candidates]
    assert found == [("digits", "7"), ("cifar10", "3"), ("cifar10", "0")]


def test_a_candidates_name_says_all_its_axes(plan_of: PlanOf) -> None:
    plan = plan_of(seeds=[3], normal_classes=[5], loss_weights=[{"con": 2.5}])
    (candidate,) = plan.candidates
    name = candidate.name()
    assert name.startswith("digits 5 kdgan-2 1-2-4 ")
    assert name.endswith(" seed 3")
    assert "con=2.5" in name
    assert "kx=1" in name


def test_candidates_that_differ_have_different_names(plan_of: PlanOf) -> None:
    plan = plan_of(
        normal_classes=[0, 1],
        structures=["kdgan-2", "kdgan-4"],
        student_widths=[(1, 2, 4), (1, 2, 5)],
        loss_weights=[{}, {"k2": 3}],
        seeds=[0, 1],
    )
    assert len({candidate.name() for candidate in plan.candidates}) == len(plan.candidates) == 32


def test_a_title_says_dataset_class_step_and_whether_it_is_a_second_one(plan_of: PlanOf) -> None:
    plan = plan_of(structures=["p-kdgan-23"], normal_classes=[4])
    titles = [stage.title for stage in plan.stages.values()]
    assert titles == ["digits 4 teacher", "digits 4 kdgan-2", "digits 4 kdgan-3 as second step"]


@pytest.mark.parametrize(
    "changes",
    [
        {"structures": ["alone", "kdgan-1", "p-kdgan-24"]},
        {"datasets": ["digits", "cifar10"], "normal_classes": "all"},
        {"seeds": [0, 7], "loss_weights": [{"con": 0.1}, {"k1": 1e-9}], "distance": "mse"},
    ],
)
def test_a_key_is_the_hash_of_the_canonical_identity(
    changes: dict[str, Any], plan_of: PlanOf
) -> None:
    for key, stage in plan_of(**changes).stages.items():
        assert key == stage.key == sha256(canonical_json(stage.identity))
