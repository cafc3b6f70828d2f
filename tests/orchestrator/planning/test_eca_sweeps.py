"""ECA_MKDAD as a sweep: its axes, its settings in keys, the published sweeps, and mistakes."""

from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from kd_models.data import dataset_row
from kd_models.methods.eca_mkdad.settings import EcaMkdadSettings
from kd_models.methods.eca_mkdad.step import DistilConfig
from kd_models.methods.registry import methods
from orchestrator.planning.keys import canonical_json, sha256
from orchestrator.planning.plan import DatasetFacts, Plan, make_plan
from orchestrator.planning.spec import SpecError, SweepSpec
from orchestrator.planning.stage import Stage
from orchestrator.planning.sweep_file import read_spec

SWEEPS = Path(__file__).parents[3] / "jobs/sweeps"
TEACHER = "7" * 64
PLACEMENTS = ["mkdad", "eca-all", "eca", "eca-null", "se", "scse"]

Complaint = Callable[..., str]


@pytest.fixture(autouse=True)
def no_teacher_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KD_VGG16_WEIGHTS", raising=False)


def eca(**changes: Any) -> SweepSpec:
    """A sweep over one class of digits, but for ``changes``."""
    raw: dict[str, Any] = {
        "name": "tiny",
        "method": "eca_mkdad",
        "datasets": ["digits"],
        "normal_classes": [0],
        "baselines": [],
    }
    return SweepSpec.model_validate({**raw, **changes})


def own_settings(spec: SweepSpec) -> Any:
    """The settings of the sweep's one method."""
    return spec.methods[0].settings


def planned(spec: SweepSpec | None = None, pretrained: str = TEACHER, **changes: Any) -> Plan:
    """The plan of a sweep, every dataset's fingerprint being made up."""
    spec = spec or eca(**changes)
    facts = {
        name: DatasetFacts(dataset_row(name), f"fingerprint of {name}") for name in spec.datasets
    }
    return make_plan(spec, facts, pretrained)


def student_of(plan: Plan) -> Stage:
    (candidate,) = plan.candidates
    return plan.stages[candidate.key]


def steps(plan: Plan) -> list[DistilConfig]:
    """What each candidate's student is trained by, in order."""
    found = [plan.stages[candidate.key].step for candidate in plan.candidates]
    assert all(isinstance(step, DistilConfig) for step in found)
    return found  # type: ignore[return-value]


# The published sweeps


@pytest.fixture(scope="module")
def paper() -> Plan:
    return planned(read_spec(SWEEPS / "eca-mkdad-paper.yaml", ["baselines=[]"]))


@pytest.fixture(scope="module")
def ablations() -> Plan:
    return planned(read_spec(SWEEPS / "eca-mkdad-ablations.yaml", ["baselines=[]"]))


def test_the_paper_in_numbers(paper: Plan) -> None:
    assert len(paper.candidates) == 65
    assert paper.stages_by_kind == {"teacher": 0, "student": 65}
    assert paper.stages_without_sharing == {"teacher": 0, "student": 65}
    assert paper.stages_by_step == {"eca": 65}
    assert Counter(candidate.dataset for candidate in paper.candidates) == {
        "mnist": 10,
        "fmnist": 10,
        "cifar10": 10,
        "svhn": 10,
        "stl10": 10,
        "mvtec": 15,
    }
    assert len(paper.packs()) == 6
    assert paper.epochs() == 20 * 100 + 30 * 300 + 15 * 500
    assert not any(stage.parents for stage in paper.stages.values())


@pytest.mark.parametrize(
    ("dataset", "epochs", "image_size", "lambda_"),
    [
        ("mnist", 100, 32, 0.01),
        ("fmnist", 100, 32, 0.01),
        ("cifar10", 300, 32, 0.01),
        ("svhn", 300, 32, 0.01),
        ("stl10", 300, 96, 0.01),
        ("mvtec", 500, 128, 0.1),
    ],
)
def test_the_papers_settings_go_by_dataset(
    paper: Plan, dataset: str, epochs: int, image_size: int, lambda_: float
) -> None:
    own = [stage for stage in paper.stages.values() if stage.dataset == dataset]
    assert {(c.recipe.epochs, c.image_size, c.step.lambda_) for c in own} == {  # type: ignore[union-attr]
        (epochs, image_size, lambda_)
    }
    axes = {tuple(c.axes.items()) for c in paper.candidates if c.dataset == dataset}
    placement = (("placement", "eca"), ("student_width", "lightweight"))
    assert axes == {(*placement, ("lambda", lambda_), ("score", "paper"))}


def test_the_papers_optimizer_is_the_same_everywhere(paper: Plan) -> None:
    recipes = {
        (r.batch_size, r.lr, r.betas, r.schedule)
        for r in (stage.recipe for stage in paper.stages.values())
    }
    assert recipes == {(32, 0.1, (0.9, 0.999), "constant")}
    assert paper.spec.evaluation.protocol == "paper"
    assert {(s.training_layers, s.scoring_layers) for s in steps(paper)} == {
        ((2, 3, 4, 5), (3, 4, 5))
    }


def test_mvtecs_categories_are_classes_with_fingerprints_of_their_own() -> None:
    spec = eca(datasets=["mvtec"], normal_classes=["grid", "wood"])
    facts = DatasetFacts(dataset_row("mvtec"), "of all", {"grid": "of grid", "wood": "of wood"})
    plan = make_plan(spec, {"mvtec": facts}, TEACHER)
    found = {s.normal_class: s.fingerprint for s in plan.stages.values()}
    assert found == {"grid": "of grid", "wood": "of wood"}


def test_the_ablations_in_numbers(ablations: Plan) -> None:
    assert len(ablations.candidates) == len(ablations.stages) == 24
    assert {
        (c.dataset, c.normal_class, c.axes["placement"], c.axes["student_width"])
        for c in ablations.candidates
    } == {
        (*task, placement, width)
        for task in (("mvtec", "grid"), ("stl10", "3"))
        for placement in PLACEMENTS
        for width in ("lightweight", "full")
    }
    assert ablations.stages_by_step == dict.fromkeys(PLACEMENTS, 4)
    assert ablations.epochs() == 12 * 500 + 12 * 300


def test_the_small_sweep_is_on_fmnist_with_and_without_attention() -> None:
    plan = planned(read_spec(SWEEPS / "eca-fmnist-small.yaml", ["baselines=[]"]))
    assert [(c.normal_class, c.axes["placement"], c.seed) for c in plan.candidates] == [
        (normal_class, placement, seed)
        for normal_class in ("0", "8")
        for placement in ("eca", "mkdad")
        for seed in (0, 1, 2)
    ]
    assert plan.epochs() == 240


# Axes


def test_candidates_are_the_product_of_placements_widths_lambdas_and_seeds() -> None:
    plan = planned(
        placements=["eca", "se"],
        student_widths=["lightweight", "full"],
        lambdas=[0, 0.5],
        seeds=[0, 1],
    )
    assert [c.name() for c in plan.candidates] == [
        f"digits 0 {placement} {width} {lambda_} paper seed {seed}"
        for placement in ("eca", "se")
        for width in ("lightweight", "full")
        for lambda_ in ("0", "0.5")
        for seed in (0, 1)
    ]
    assert len(plan.stages) == 16
    assert [(s.student.placement, s.student.width, s.lambda_) for s in steps(plan)] == [
        (c.axes["placement"], c.axes["student_width"], c.axes["lambda"]) for c in plan.candidates
    ]


def test_every_class_has_a_student_of_each_kind() -> None:
    plan = planned(normal_classes="all", placements=PLACEMENTS, lambdas=[0.1, 1])
    assert len(plan.candidates) == len(plan.stages) == 10 * 6 * 2


def test_naming_something_twice_asks_for_it_once() -> None:
    plan = planned(
        placements=["eca", "eca"], lambdas=[0.1, 0.1], student_widths=["full", "full"], seeds=[1, 1]
    )
    assert len(plan.candidates) == len(plan.stages) == 1


def test_a_title_says_dataset_class_and_placement() -> None:
    plan = planned(placements=["scse"], normal_classes=[4])
    assert student_of(plan).title == "digits 4 scse"


def test_a_folder_in_mvtecs_layout_has_mvtecs_settings(planted: Any, tmp_path: Path) -> None:
    planted(tmp_path, train=1, test=2, size=32)
    plan = planned(datasets=[f"mvtec:{tmp_path}"], normal_classes="all")
    stage = student_of(plan)
    assert stage.normal_class == "cloth"
    assert (stage.recipe.epochs, stage.image_size) == (500, 128)
    assert steps(plan)[0].lambda_ == 0.1


def test_given_settings_are_used_whatever_the_dataset() -> None:
    plan = planned(
        datasets=["digits", "mvtec"],
        normal_classes={"digits": [0], "mvtec": ["grid"]},
        lambdas=[0.3],
        image_size=48,
        training={"epochs": 7},
    )
    assert len(plan.candidates) == 2
    for stage in plan.stages.values():
        assert (stage.image_size, stage.recipe.epochs) == (48, 7)
    assert {step.lambda_ for step in steps(plan)} == {0.3}


# Keys

GOLDEN = {
    "eca": "8d4782b337c459e04cda92a72021a5a91d4e2fd0175ed44f3a2affc18ba1438b",
    "se": "57e431ab3ad7acc862acd0cc95cd2b6551026f6477a26f9024a5115b3b5e92cb",
}
"""Stages under these keys lie in people's stores. A change here makes every one of them be trained
again: it has to be meant. Another process, with another hash seed, computed these."""


def test_keys_are_what_they_always_were() -> None:
    plain = eca(name="any")
    other = SweepSpec.model_validate(
        {
            "name": "any",
            "method": "eca_mkdad",
            "datasets": ["mvtec"],
            "baselines": [],
            "normal_classes": ["grid"],
            "placements": ["se"],
            "student_widths": ["full"],
            "lambdas": [0.5],
            "seeds": [3],
            "teacher": {"precision": "float16"},
            "training": {"schedule": "constant"},
        }
    )
    facts = {
        "digits": DatasetFacts(dataset_row("digits"), "0" * 64),
        "mvtec": DatasetFacts(dataset_row("mvtec"), "0" * 64, {"grid": "2" * 64}),
    }
    plans = [make_plan(spec, facts, "1" * 64) for spec in (plain, other)]
    assert {s.step.name: s.key for s in map(student_of, plans)} == GOLDEN


def test_key_is_the_hash_of_the_identity() -> None:
    stage = student_of(planned())
    assert stage.key == sha256(canonical_json(stage.identity))


RESULT_BEARING: dict[str, Any] = {
    "datasets": ["mnist"],
    "normal_classes": [1],
    "seeds": [1],
    "placements": ["mkdad"],
    "lambdas": [0.5],
    "scores": ["calibrated"],
    "student_widths": ["full"],
    "training_layers": (3, 4, 5),
    "scoring_layers": (4, 5),
    "image_size": 48,
    "training.epochs": 3,
    "training.batch_size": 33,
    "training.lr": 0.01,
    "training.betas": (0.5, 0.999),
    "training.schedule": "constant",
    "teacher.precision": "float16",
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
    "teacher.weights": "/somewhere/vgg16.pth",  # What the file holds counts, not where it is.
}


def changed(setting: str, value: Any) -> SweepSpec:
    """The plain sweep with one dotted setting changed and nothing else."""
    raw = eca().as_written()
    *groups, name = setting.split(".")
    inner = raw
    for group in groups:
        inner = inner[group]
    assert name in inner
    assert inner[name] != value
    inner[name] = value
    return SweepSpec.model_validate(raw)


def leaves(value: Any, path: str = "") -> Iterator[str]:
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from leaves(inner, f"{path}.{name}".strip("."))
    else:
        yield path


def test_every_setting_there_is_stands_in_one_of_the_two_lists() -> None:
    listed = [*RESULT_BEARING, *RESULT_FREE, "method", "baselines", "recipe"]
    assert sorted(listed) == sorted(leaves(eca().as_written()))


@pytest.mark.parametrize("setting", RESULT_BEARING)
def test_a_setting_that_bears_on_the_result_changes_the_key(setting: str) -> None:
    other = planned(changed(setting, RESULT_BEARING[setting]))
    assert student_of(other).key != student_of(planned()).key


@pytest.mark.parametrize("setting", RESULT_FREE)
def test_where_and_how_a_stage_runs_is_no_part_of_its_key(setting: str) -> None:
    other = planned(changed(setting, RESULT_FREE[setting]))
    assert other.stages.keys() == planned().stages.keys()


def test_all_changes_lead_to_different_keys() -> None:
    keys = {student_of(planned(changed(s, v))).key for s, v in RESULT_BEARING.items()}
    assert len(keys) == len(RESULT_BEARING)


def test_the_pretrained_weights_are_part_of_the_key() -> None:
    one, other = planned(pretrained="a" * 64), planned(pretrained="b" * 64)
    assert not one.stages.keys() & other.stages.keys()
    assert steps(one)[0].pretrained_sha256 == "a" * 64


def test_content_of_the_dataset_is_part_of_the_key() -> None:
    row = dataset_row("digits")
    one, other = (make_plan(eca(), {"digits": DatasetFacts(row, f)}, TEACHER) for f in "ab")
    assert not one.stages.keys() & other.stages.keys()


def test_another_category_is_no_part_of_the_key() -> None:
    spec, row = eca(datasets=["mvtec"], normal_classes=["grid"]), dataset_row("mvtec")
    one, other = (
        make_plan(spec, {"mvtec": DatasetFacts(row, all_, {"grid": "g", "wood": wood})}, TEACHER)
        for all_, wood in (("a", "b"), ("c", "d"))
    )
    assert one.stages.keys() == other.stages.keys()


def test_where_a_tree_of_categories_lies_is_no_part_of_the_key(
    planted: Any, tmp_path: Path
) -> None:
    keys = []
    for place in ("here", "there"):
        planted(tmp_path / place, train=1, test=2, size=32)
        name = f"mvtec:{tmp_path / place}"
        facts = DatasetFacts(dataset_row(name), "all", {"cloth": "same content"})
        spec = eca(datasets=[name], normal_classes="all")
        keys.append(list(make_plan(spec, {name: facts}, TEACHER).stages))
    assert keys[0] == keys[1]


@pytest.mark.parametrize(
    ("spelling", "other"),
    [
        ({"training": {}}, {"training": {"epochs": 100}}),
        ({}, {"lambdas": [0.01]}),
        ({"lambdas": [1]}, {"lambdas": [1.0]}),
        ({}, {"image_size": 32}),
        ({}, {"placements": ["eca"], "student_widths": ["lightweight"]}),
        ({}, {"training_layers": [2, 3, 4, 5], "scoring_layers": [3, 4, 5]}),
        ({"normal_classes": [3]}, {"normal_classes": ["3"]}),
    ],
)
def test_spelling_is_no_part_of_the_key(spelling: dict[str, Any], other: dict[str, Any]) -> None:
    assert list(planned(**spelling).stages) == list(planned(**other).stages)


# Sweep files


@pytest.fixture
def read(tmp_path: Path) -> Callable[..., SweepSpec]:
    """Reads the smallest file with changes, from a file called a.yaml."""

    def run(overrides: list[str] | None = None, **changes: Any) -> SweepSpec:
        smallest = {"name": "a", "method": "eca_mkdad", "datasets": ["digits"]}
        path = tmp_path / "a.yaml"
        path.write_text(yaml.safe_dump({**smallest, **changes}))
        return read_spec(path, overrides or [])

    return run


@pytest.fixture
def complaint(read: Callable[..., SweepSpec], tmp_path: Path) -> Complaint:
    """What ``read`` complains of, each line without the folder's name."""

    def run(overrides: list[str] | None = None, **changes: Any) -> str:
        with pytest.raises(SpecError) as caught:
            read(overrides, **changes)
        return str(caught.value).replace(f"{tmp_path}/", "")

    return run


def test_the_smallest_file_has_the_documented_defaults(read: Callable[..., Any]) -> None:
    spec = read()
    own = own_settings(spec)
    assert isinstance(own, EcaMkdadSettings)
    assert (spec.normal_classes, spec.seeds, own.placements) == ("all", (0,), ("eca",))
    assert (own.lambdas, own.image_size, own.training.epochs) == ("paper",) * 3
    assert own.student_widths == ("lightweight",)
    assert (own.training.batch_size, own.training.lr) == (32, 0.1)
    assert own.training.betas == (0.9, 0.999)
    assert own.training.schedule == "cosine"
    assert own.teacher.precision == "float32"
    assert own.teacher.weights == own.pretrained_source == "imagenet1k_v1"
    assert spec.resources.teacher_cache_gib == 4


def test_weights_may_come_from_the_environment(
    read: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KD_VGG16_WEIGHTS", "/models/vgg16.pth")
    assert own_settings(read()).pretrained_source == "/models/vgg16.pth"
    assert (
        own_settings(read(teacher={"precision": "float16"})).pretrained_source
        == "/models/vgg16.pth"
    )
    assert own_settings(read(teacher={"weights": "random"})).pretrained_source == "random"
    assert own_settings(read(["teacher.weights=other.pth"])).pretrained_source == "other.pth"


def test_a_file_without_a_method_is_p_kdgans(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text("{name: a, datasets: [digits], structures: [kdgan-2]}")
    spec = read_spec(path)
    assert spec.methods[0].method == "pkdgan"
    assert own_settings(spec).pretrained_source is None


def test_an_unknown_method_is_answered_with_the_nearest(complaint: Complaint) -> None:
    assert complaint(method="eca_mkda") == (
        "a.yaml: method: 'eca_mkda' is no method; the methods are "
        f"{', '.join(methods())}; did you mean eca_mkdad?"
    )
    assert complaint(method=3).startswith("a.yaml: method: Input should be a valid string, not 3")


def test_a_list_of_methods_is_a_mistake_like_any_other(complaint: Complaint) -> None:
    assert complaint(method=["eca_mkdad"]).startswith("a.yaml: method: ")


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        (
            {"placements": ["eca", "eca-al"]},
            "placements: 'eca-al' is no placement; the placements are mkdad, eca, eca-all, "
            "eca-null, se, scse; did you mean eca-all?",
        ),
        ({"placements": []}, "placements: List should have at least 1 item"),
        (
            {"student_widths": ["lightwieght"]},
            "student_widths.0: Input should be 'lightweight' or 'full', not 'lightwieght'; "
            "did you mean lightweight?",
        ),
        (
            {"scoring_layers": [3, 5], "training_layers": [2, 3]},
            "scoring_layers has 5, which training_layers [2, 3] lacks",
        ),
        ({"scoring_layers": [1]}, "scoring_layers has 1, which training_layers [2, 3, 4, 5] lacks"),
        (
            {"training_layers": [1, 2, 3, 4, 5]},
            "training_layers has 1, where a lightweight student has 16 channels and the teacher "
            "64; leave it out, or use student width full",
        ),
        (
            {"training_layers": [1, 3, 4, 5], "student_widths": ["full", "lightweight"]},
            "training_layers has 1, where a lightweight student",
        ),
        (
            {"training_layers": [3, 4, 5, 6]},
            "training_layers is [3, 4, 5, 6]; expected some of the max-pools [1, 2, 3, 4, 5], "
            "each once",
        ),
        ({"scoring_layers": [3, 3]}, "scoring_layers is [3, 3]; expected some of the max-pools"),
        ({"scoring_layers": []}, "scoring_layers: List should have at least 1 item"),
        ({"image_size": 16}, "image_size: Input should be greater than or equal to 32, not 16"),
        (
            {"image_size": "papr"},
            "image_size: Input should be 'paper' or a valid integer, not 'papr'; "
            "did you mean paper?",
        ),
        ({"lambdas": [-0.1]}, "lambdas.0: Input should be greater than or equal to 0, not -0.1"),
        ({"lambdas": 0.1}, "lambdas: Input should be 'paper' or a valid list, not 0.1"),
        (
            {"training": {"epochs": 0}},
            "training.epochs: Input should be greater than or equal to 1, not 0",
        ),
        (
            {"training": {"ephocs": 3}},
            "training.ephocs is not a setting; did you mean epochs? "
            "(there are epochs, batch_size, lr, betas, schedule)",
        ),
        (
            {"teacher": {"precision": "float8"}},
            "teacher.precision: Input should be 'float32' or 'float16', not 'float8'",
        ),
        (
            {"teacher": {"weigths": "random"}},
            "teacher.weigths is not a setting; did you mean weights? (there are weights, precision",
        ),
        (
            {"resources": {"teacher_cache_gib": -1}},
            "resources.teacher_cache_gib: Input should be greater than or equal to 0, not -1",
        ),
        (
            {"resources": {"workers": 33}},
            "training.batch_size is 32: 33 resources.workers cannot share it",
        ),
    ],
)
def test_a_mistake_is_named_with_what_was_expected(
    complaint: Complaint, changes: dict[str, Any], line: str
) -> None:
    lines = complaint(**changes).splitlines()
    assert [said for said in lines if said.startswith(f"a.yaml: {line}")], lines


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("structures", ["kdgan-2"]),
        ("loss_weights", [{}]),
        ("normalisation", "batch"),
        ("distance", "mse"),
    ],
)
def test_a_setting_of_p_kdgan_is_no_setting_of_this_method(
    complaint: Complaint, setting: str, value: Any
) -> None:
    said = complaint(**{setting: value})
    assert said.startswith(f"a.yaml: {setting} is not a setting")
    there_are = said.partition("(there are ")[2].rstrip(")").split(", ")
    assert {"placements", "lambdas", "teacher"} <= set(there_are)


def test_a_setting_of_this_method_is_none_of_p_kdgans(complaint: Complaint) -> None:
    said = complaint(method="pkdgan", structures=["kdgan-2"], placements=["eca"])
    assert said.startswith("a.yaml: placements is not a setting")


@pytest.mark.parametrize("from_outside", [False, True])
def test_no_weights_at_all_are_a_mistake(
    read: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, from_outside: bool
) -> None:
    """Else the sweep would be planned without its teacher."""
    if from_outside:
        monkeypatch.setenv("KD_VGG16_WEIGHTS", "")
        assert own_settings(read()).pretrained_source == "imagenet1k_v1"
    else:
        with pytest.raises(SpecError, match=r"teacher\.weights"):
            read(teacher={"weights": ""})


def test_sizes_and_layers_that_the_paper_does_not_use_are_fine(
    read: Callable[..., Any],
) -> None:
    assert own_settings(read(image_size=33)).image_size == 33
    full = own_settings(
        read(training_layers=[1, 2, 3], scoring_layers=[1], student_widths=["full"])
    )
    assert (full.training_layers, full.scoring_layers) == ((1, 2, 3), (1,))
