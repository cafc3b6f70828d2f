"""Sweeps of several methods, seeds, baselines, and what tells their students apart."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from kd_models.data import dataset_row
from orchestrator.planning.configuration import Configuration, Telling
from orchestrator.planning.plan import DatasetFacts, Plan, make_plan
from orchestrator.planning.spec import SpecError, SweepSpec
from orchestrator.planning.sweep_file import read_spec

ONE = {"name": "a", "datasets": ["digits"], "normal_classes": [0], "baselines": []}
GAN = {"method": "pkdgan", "structures": ["kdgan-1"], "scores": ["paper"]}
ECA = {"method": "eca_mkdad", "placements": ["eca"], "teacher": {"weights": "random"}}
BASELINES = ["hog", "knn", "pca", "pixel-gaussian"]


def planned(images: int | None = 100, **changes: Any) -> Plan:
    spec = SweepSpec.model_validate({**ONE, **changes})
    counts = {} if images is None else {str(n): images for n in range(10)}
    facts = {name: DatasetFacts(dataset_row(name), name, images=counts) for name in spec.datasets}
    return make_plan(spec, facts, "7" * 64)


def words(plan: Plan) -> list[str]:
    return [plan.telling.words(candidate.configuration) for candidate in plan.candidates]


# Seeds


@pytest.mark.parametrize(("seeds", "meant"), [(3, (0, 1, 2)), (1, (0,)), ([3], (3,))])
def test_seeds_are_a_list_or_how_many(seeds: Any, meant: tuple[int, ...]) -> None:
    assert SweepSpec.model_validate({**ONE, **GAN, "seeds": seeds}).seeds == meant


@pytest.mark.parametrize("seeds", [0, -1, 10_001])
def test_no_seed_or_too_many_are_refused(seeds: int, tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(yaml.safe_dump({**ONE, **GAN, "seeds": seeds}))
    with pytest.raises(SpecError, match=rf"seeds: expected how many.*not {seeds}; one seed is a"):
        read_spec(tmp_path / "a.yaml")


# Baselines


def test_baselines_are_planned_beside_every_sweep_once_for_all_seeds() -> None:
    plan = planned(**GAN, baselines="all", seeds=2, normal_classes=[0, 8])
    assert [(c.configuration.kind, c.normal_class, c.seed) for c in plan.candidates] == [
        *[("student", "0", 0), ("student", "0", 1), ("student", "8", 0), ("student", "8", 1)],
        *[("baseline", "0", 0), ("baseline", "8", 0)] * 4,
    ]
    assert words(plan) == ["kdgan-1"] * 4 + [n for n in BASELINES for _ in range(2)]


def test_baselines_are_fitted_in_one_pack() -> None:
    plan = planned(**GAN, baselines="all", normal_classes=[0, 8])
    packs = [pack for pack in plan.packs() if not pack.parents and pack.stages[0].recipe is None]
    assert [len(pack.stages) for pack in packs] == [8]


@pytest.mark.parametrize("concurrent", [2, 8])
@pytest.mark.parametrize("method", [GAN, ECA])
def test_what_is_only_fitted_leaves_the_trials_to_trainings(
    method: dict[str, Any], concurrent: int
) -> None:
    scores = {"scores": ["paper", "calibrated"]} if method is GAN else {}

    def sizes(baselines: str | list[str]) -> list[int]:
        plan = planned(
            **{**method, **scores, "normal_classes": "all", "seeds": 3, "baselines": baselines}
        )
        packs = plan.packs(concurrent=concurrent)
        return [len(pack.stages) for pack in packs if pack.stages[0].recipe is not None]

    assert sizes("all") == sizes([])
    assert len(sizes([])) >= concurrent


def test_a_method_that_the_sweep_has_is_no_baseline_of_it() -> None:
    plan = planned(method="pca", side=8, baselines="all")
    assert words(plan) == ["16", "hog", "knn", "pixel-gaussian"]


def test_a_baseline_is_the_same_stage_in_every_sweep() -> None:
    one = planned(**GAN, baselines=["knn"], seeds=[4])
    other = planned(**ECA, baselines=["knn", "pca"])
    assert len(one.stages.keys() & other.stages.keys()) == 1


@pytest.mark.parametrize(
    "changed",
    [{"prototypes": [7]}, {"projection": {"components": 7}}, {"projection": {"whitening": 0.75}}],
)
def test_how_a_baseline_is_fitted_is_part_of_its_key(changed: dict[str, Any]) -> None:
    one, other = planned(method="hog"), planned(method="hog", **changed)
    assert not one.stages.keys() & other.stages.keys()


def test_how_many_images_a_memory_holds_is_known_before() -> None:
    for images, memory in ((100, 100), (9999, 2000), (None, 2000)):
        plan = planned(images, **GAN, baselines=["knn"])
        step = plan.stages[plan.candidates[-1].key].step
        assert step.detector.memory == memory  # type: ignore[attr-defined]


def test_a_method_that_is_asked_for_is_no_baseline() -> None:
    plan = planned(method="knn", neighbours=[1, 5], baselines=["pca"])
    assert [c.configuration.kind for c in plan.candidates] == ["student", "student", "baseline"]
    assert words(plan) == ["1", "5", "pca"]


def test_an_unknown_baseline_is_answered_with_those_there_are(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(yaml.safe_dump({**ONE, **GAN, "baselines": ["knm"]}))
    with pytest.raises(SpecError) as caught:
        read_spec(tmp_path / "a.yaml")
    said = "baselines: 'knm' is no baseline; the baselines are hog, knn, pca, pixel-gaussian"
    assert said in str(caught.value)


# Several methods


def test_methods_share_one_plan_and_stages() -> None:
    plan = planned(
        methods=[
            {**GAN, "structures": ["kdgan-1", "alone"]},
            {**GAN, "structures": ["kdgan-4"]},
            ECA,
        ]
    )
    assert plan.stages_by_step == {"teacher": 1, "kdgan-1": 1, "alone": 1, "kdgan-4": 1, "eca": 1}
    assert words(plan) == [
        *("pkdgan kdgan-1", "pkdgan alone", "pkdgan kdgan-4"),
        "eca_mkdad",
    ]


def test_a_method_may_have_seeds_and_classes_of_its_own() -> None:
    plan = planned(
        seeds=2,
        baselines=["pca"],
        methods=[GAN, {**ECA, "seeds": [5], "normal_classes": ["8"]}],
    )
    found = [(c.configuration.method, c.normal_class, c.seed) for c in plan.candidates]
    assert found == [
        *[("pkdgan", "0", 0), ("pkdgan", "0", 1), ("eca_mkdad", "8", 5)],
        *[("pca", "0", 0), ("pca", "8", 0)],  # wherever a method is
    ]


def test_labels_tell_entries_of_one_method_apart() -> None:
    slow = {**GAN, "training": {"lr": 0.0001}}
    with pytest.raises(SpecError, match=r"two entries of pkdgan train different students.*label"):
        planned(methods=[GAN, slow])
    plan = planned(methods=[GAN, {**slow, "label": "slow"}])
    assert words(plan) == ["pkdgan", "slow"]
    assert len(plan.stages) == 4  # the teachers' rates differ, too


def test_two_entries_that_train_the_same_are_one() -> None:
    assert len(planned(methods=[GAN, GAN]).candidates) == 1


def test_two_labels_for_one_student_are_refused() -> None:
    """It would be missing from the means of one of them."""
    entries = [{**GAN, "label": "a"}, {**GAN, "label": "b", "normal_classes": [0, 1]}]
    with pytest.raises(SpecError, match=r"a and b train the same student, digits 0 .*leave it out"):
        planned(methods=entries)


@pytest.mark.parametrize("apart", [{"seeds": [1]}, {"normal_classes": [1]}])
def test_no_mean_is_over_students_that_were_trained_otherwise(apart: dict[str, Any]) -> None:
    with pytest.raises(SpecError, match=r"two entries of pkdgan train different students"):
        planned(methods=[GAN, {**GAN, **apart, "training": {"epochs": 500}}])


def test_axes_that_differ_between_classes_alone_are_said() -> None:
    wide = {**GAN, "normal_classes": [1], "student_widths": [[8, 16, 64]]}
    assert words(planned(methods=[GAN, wide])) == ["2-4-8", "8-16-64"]


def test_a_calibrated_student_has_the_seed_it_was_trained_with() -> None:
    plan = planned(**{**GAN, "scores": ["calibrated"], "seeds": [0, 7]})
    assert [candidate.seed for candidate in plan.candidates] == [0, 7]
    for scores in (["paper"], ["calibrated"]):
        of_one = planned(
            **{**GAN, "structures": ["teacher"], "scores": scores, "seeds": 2},
            teacher={"seed": 7},
        )
        assert [candidate.seed for candidate in of_one.candidates] == [7]


def test_a_student_is_compared_with_its_teacher_by_the_same_score() -> None:
    both = {**GAN, "scores": ["paper", "calibrated"]}
    plan = planned(**{**both, "structures": ["teacher", "kdgan-1", "alone"]})
    found = {}
    for candidate in plan.candidates:
        teacher = plan.teacher_of(candidate)
        found[plan.telling.words(candidate.configuration)] = teacher and teacher.step.name
    assert found == {
        **{"teacher paper": None, "teacher calibrated": None},
        **{"kdgan-1 paper": "teacher", "kdgan-1 calibrated": "teacher calibrated"},
        **{"alone paper": None, "alone calibrated": None},
    }
    without = planned(**both)
    assert [t and t.step.name for t in map(without.teacher_of, without.candidates)] == [
        "teacher",
        None,
    ]


def test_a_second_steps_batches_are_shared_by_the_workers(tmp_path: Path) -> None:
    raw = {**ONE, **GAN, "structures": ["p-kdgan-23"], "second_step": {"batch_size": 1}}
    (tmp_path / "a.yaml").write_text(yaml.safe_dump({**raw, "resources": {"workers": 2}}))
    with pytest.raises(SpecError, match=r"second_step\.batch_size is 1: 2 resources\.workers"):
        read_spec(tmp_path / "a.yaml")
    raw["structures"] = ["kdgan-1"]  # which has none
    (tmp_path / "a.yaml").write_text(yaml.safe_dump({**raw, "resources": {"workers": 2}}))
    assert read_spec(tmp_path / "a.yaml")


def test_an_unknown_recipe_is_told_with_the_other_mistakes(complaint: Callable[..., str]) -> None:
    said = complaint(**GAN, recipe="papr", training={"ephocs": 3})
    assert "a.yaml: recipe: Input should be 'recommended' or 'paper', not 'papr'; did you" in said
    assert "a.yaml: training.ephocs is not a setting" in said


@pytest.fixture
def complaint(tmp_path: Path) -> Callable[..., str]:
    def run(**changes: Any) -> str:
        (tmp_path / "a.yaml").write_text(yaml.safe_dump({**ONE, **changes}))
        with pytest.raises(SpecError) as caught:
            read_spec(tmp_path / "a.yaml")
        return str(caught.value).replace(f"{tmp_path}/", "")

    return run


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ({**GAN, "training": {"ephocs": 3}}, "methods.1.training.ephocs is not a setting; did you"),
        ({**GAN, "trainning": {}}, "methods.1.trainning is not a setting; did you mean training?"),
        ({**GAN, "seeds": ["x"]}, "methods.1.seeds.0: "),
        ({"method": "pkdgan"}, "methods.1.structures is missing"),
        ({"method": "pkd"}, "methods.1.method: 'pkd' is no method"),
        ({**GAN, "label": "a b"}, "methods.1.label: "),
        (3, "methods.1: "),
    ],
)
def test_a_mistake_in_an_entry_says_where(
    complaint: Callable[..., str], entry: Any, said: str
) -> None:
    assert said in complaint(methods=[GAN, entry])


def test_settings_of_a_method_beside_several_are_refused(complaint: Callable[..., str]) -> None:
    assert "structures is not a setting" in complaint(methods=[GAN], structures=["alone"])


def test_no_methods_are_refused(complaint: Callable[..., str]) -> None:
    assert "methods: " in complaint(methods=[])


@pytest.mark.parametrize("methods", [[GAN], [GAN, ECA], [{**GAN, "label": "x", "seeds": 2}]])
def test_a_sweep_as_it_was_read_is_read_as_itself(methods: list[Any], tmp_path: Path) -> None:
    spec = SweepSpec.model_validate({**ONE, "methods": methods})
    (tmp_path / "a.yaml").write_text(yaml.safe_dump(spec.as_written()))
    assert read_spec(tmp_path / "a.yaml") == spec


# What tells configurations apart


def configuration(**axes: Any) -> Configuration:
    return Configuration("m", "student", axes)


def test_an_axis_that_tells_no_two_apart_is_left_out() -> None:
    teacher = configuration(structure="teacher", score="paper")
    student = configuration(structure="kdgan-1", widths=[1, 2], score="paper")
    tell = Telling({"d": [teacher, student]})
    assert [tell.words(teacher), tell.words(student)] == ["teacher", "kdgan-1"]
    calibrated = configuration(structure="kdgan-1", widths=[1, 2], score="calibrated")
    tell = Telling({"d": [teacher, student, calibrated]})
    assert tell.words(calibrated) == "kdgan-1 calibrated"


values = st.sampled_from(["a", "b", 1, 0.5])


@given(
    st.lists(st.dictionaries(st.sampled_from("xyz"), values, min_size=1), min_size=1, max_size=8)
)
def test_the_words_of_different_configurations_differ(axes: list[dict[str, Any]]) -> None:
    every = {one.key: one for one in (configuration(**own) for own in axes)}
    # As methods do: every axis has a value, or it is absent from none or many alike.
    whole = [one for one in every.values() if set(one.axes) == set("xyz")]
    if whole:
        tell = Telling({"d": whole})
        assert len({tell.words(one) for one in whole}) == len(whole)
