"""Choosing by configuration: means over seeds, standard errors, costs."""

import itertools
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.choosing import COSTS, Limits, as_row, choose, choosing_metric, pareto_front


def a_run(
    student: str,
    val_auroc: float,
    *,
    seed: int = 0,
    auroc: float = 0.5,
    params: float = 100,
    flops: float = 1000,
    latency_us: float = 1.0,
    size_bytes: float = 400,
    dataset: str = "digits",
    normal_class: str = "0",
    protocol: str = "holdout",
    kind: str = "student",
    teacher: float | None = None,
) -> Any:
    """A run as ``choose`` reads it."""
    metrics = {
        "val_auroc": val_auroc,
        "auroc": auroc,
        "test_auroc": 0.5,
        "threshold": 1.0,
        "params": params,
        "flops": flops,
        "latency_us": latency_us,
        "size_bytes": size_bytes,
    }
    if teacher is not None:
        metrics |= {"teacher_val_auroc": teacher, "teacher_auroc": 0.1}
    tags = {
        "dataset": dataset,
        "normal_class": normal_class,
        "complete": protocol,
        "kind": kind,
        "method": "pkdgan",
        "student": f"{student} with all its axes",
        "configuration": student,
        "seed": str(seed),
        "stage_key": f"{student}{seed}",
    }
    return SimpleNamespace(data=SimpleNamespace(metrics=metrics, tags=tags))


def seeds(student: str, *aurocs: float, **about: Any) -> list[Any]:
    """A configuration with a seed for each AUROC."""
    return [a_run(student, auroc, seed=seed, **about) for seed, auroc in enumerate(aurocs)]


def chosen(runs: list[Any], limits: Limits = Limits(), **options: Any) -> str | None:  # noqa: B008
    (choice,) = choose(runs, limits, **options)
    return choice.option and choice.option.name


def test_one_lucky_seed_wins_nothing() -> None:
    """By single runs the lucky one would win: 0.97 is the best of all."""
    lucky, steady = seeds("lucky", 0.97, 0.84, 0.85), seeds("steady", 0.93, 0.92, 0.94)
    best_run = max([*lucky, *steady], key=choosing_metric)
    assert best_run.data.tags["configuration"] == "lucky"
    assert chosen([*lucky, *steady]) == "steady"
    assert chosen([*steady, *lucky]) == "steady"


def test_the_network_that_somebody_gets_is_the_best_seed_of_what_was_chosen() -> None:
    (choice,) = choose(seeds("steady", 0.93, 0.92, 0.94), Limits())
    assert choice.option is not None
    assert choice.option.best_run("0").data.tags["seed"] == "2"


def test_the_cheapest_within_one_standard_error_of_the_best_is_chosen() -> None:
    best = seeds("best", 0.90, 0.94, 0.92, latency_us=30)  # 0.92, standard error 0.0115
    near = seeds("near", 0.91, 0.91, 0.91, latency_us=20)
    far = seeds("far", 0.90, 0.90, 0.90, latency_us=10)
    runs = [*best, *near, *far]
    assert chosen(runs) == "near"
    (choice,) = choose(runs, Limits())
    assert choice.runner_up is not None
    assert choice.runner_up.name == "best"
    for words in ("cheapest by latency of 2", "best at 0.9200", "0.0115 over 3 seeds", "0.9100"):
        assert words in choice.reason
    assert [option.name for option in choice.front] == ["far", "near", "best"]


def test_which_cost_decides_is_said() -> None:
    slow = seeds("slow", 0.9, 0.9, latency_us=30, flops=10, params=10, size_bytes=99)
    fast = seeds("fast", 0.9, 0.9, latency_us=20, flops=20, params=9, size_bytes=100)
    runs = [*slow, *fast]
    assert [chosen(runs, cheapest_by=cost) for cost in COSTS] == ["fast", "slow", "fast", "slow"]


def test_of_one_seed_nothing_is_known_of_its_spread() -> None:
    (choice,) = choose([a_run("a", 0.9), a_run("b", 0.8, latency_us=0.5)], Limits())
    assert choice.option is not None
    assert (choice.option.name, choice.option.error) == ("a", None)
    assert "one seed each" in choice.reason


def test_the_validation_half_decides_and_under_the_papers_protocol_all_images() -> None:
    runs = [a_run("a", 0.9, auroc=0.1), a_run("b", 0.8, auroc=0.9)]
    assert chosen(runs) == "a"
    for run in runs:
        run.data.tags["complete"] = "paper"
    assert chosen(runs) == "b"


@pytest.mark.parametrize(
    ("limits", "expected"),
    [
        ({}, "large"),
        ({"params": 300}, "large"),
        ({"params": 299}, "middle"),
        ({"flops": 2999}, "middle"),
        ({"latency_us": 1.9}, "small"),
        ({"size_bytes": 100, "params": 500}, "small"),
        ({"drop": 0.05}, "large"),
        ({"drop": 0.049, "params": 299}, None),
        ({"params": 0}, None),
    ],
)
def test_a_limit_is_the_most_a_student_may_cost_or_lose(
    limits: dict[str, float], expected: str | None
) -> None:
    runs = [
        a_run("large", 0.9, params=300, flops=3000, latency_us=3, size_bytes=300, teacher=0.95),
        a_run("middle", 0.8, params=200, flops=2000, latency_us=2, size_bytes=200, teacher=0.95),
        a_run("small", 0.7, params=100, flops=1000, latency_us=1, size_bytes=100),
    ]
    assert chosen(runs, Limits(**limits)) == expected
    if expected is None:
        (choice,) = choose(runs, Limits(**limits))
        assert choice.reason == "none of 3 configurations is within the limits"


def test_what_is_lost_is_lost_to_the_own_teacher() -> None:
    """Teachers are judged by their students' score: those by another score are others."""
    runs = [
        a_run("by one score", 0.90, teacher=0.92),
        a_run("by another", 0.95, teacher=0.98),
        a_run("alone", 0.93),
    ]
    drops = {
        option.name: option.drop for option in choose(runs, Limits(), cheapest_by="flops")[0].front
    }
    assert drops == {"by another": pytest.approx(0.03)}
    assert chosen(runs, Limits(drop=0.025)) == "alone"  # 0.95, the mean of both, less 0.93
    assert chosen(runs[:2], Limits(drop=0.025)) == "by one score"


def test_without_a_teacher_nothing_is_known_of_what_is_lost() -> None:
    assert chosen([a_run("alone", 0.9)], Limits(drop=1.0)) is None


def test_a_baseline_that_costs_no_more_and_is_as_good_is_named() -> None:
    student = seeds("student", 0.95, 0.65)  # its mean is 0.8
    baselines = [
        a_run("as good", 0.8, kind="baseline"),
        a_run("dear", 0.99, flops=1001, kind="baseline"),
        a_run("worse", 0.79, kind="baseline"),
        a_run("large", 0.9, params=101, kind="baseline"),
    ]
    (choice,) = choose([*baselines, *student], Limits())
    assert choice.option is not None
    assert choice.option.name == "student"
    assert [option.name for option in choice.baselines] == ["as good", "large"]
    (choice,) = choose([*baselines, *student], Limits(params=100))
    assert [option.name for option in choice.baselines] == ["as good"]
    (choice,) = choose([*baselines, *student], Limits(), with_baselines=True)
    assert (choice.option and choice.option.name, choice.baselines) == ("dear", ())


def test_a_teacher_is_not_chosen() -> None:
    assert chosen([a_run("t", 0.9, kind="teacher"), a_run("s", 0.8)]) == "s"
    assert choose([a_run("t", 0.9, kind="teacher")], Limits()) == []


def test_each_dataset_and_class_has_a_choice_of_its_own() -> None:
    runs = [
        a_run("a", 0.9, dataset="mnist", normal_class="1"),
        a_run("a", 0.5, normal_class="1"),
        a_run("b", 0.7, normal_class="1", params=500),
        a_run("b", 0.6, normal_class="0", params=500),
    ]
    choices = choose(runs, Limits(params=400))
    found = [(c.dataset, c.normal_classes, c.option and c.option.name) for c in choices]
    assert found == [("digits", ("0",), None), ("digits", ("1",), "a"), ("mnist", ("1",), "a")]


def test_for_a_whole_dataset_one_configuration_is_chosen() -> None:
    runs = [
        *seeds("good on 0", 0.99, 0.99, normal_class="0"),
        *seeds("good on 0", 0.70, 0.72, normal_class="1"),
        *seeds("on both", 0.90, 0.92, normal_class="0"),
        *seeds("on both", 0.90, 0.92, normal_class="1"),
        *seeds("one class alone", 0.999, 0.999, normal_class="0"),
    ]
    (choice,) = choose(runs, Limits(), per="dataset")
    assert choice.option is not None
    assert (choice.option.name, choice.normal_classes) == ("on both", ("0", "1"))
    assert choice.option.mean == pytest.approx(0.91)
    assert choice.option.error == pytest.approx(0.01)  # of 0.90 and 0.92, one for each seed
    assert choice.considered == 2
    assert choice.option.best_run("1").data.metrics["val_auroc"] == 0.92


def test_a_row_holds_everything_as_json() -> None:
    (choice,) = choose([*seeds("a", 0.9, 0.8, teacher=0.95), a_run("b", 0.7)], Limits())
    assert choice.option is not None
    row = as_row(choice, choice.option.best_run("0"))
    assert (row["student"], row["seed"], row["chosen_seeds"]) == ("a", 0, 2)
    assert row["chosen_by"] == pytest.approx(0.85)
    assert row["drop"] == pytest.approx(0.1)
    assert row["runner_up"] == "b"
    assert [one["student"] for one in row["pareto_front"]] == ["a"]


some_runs = st.lists(
    st.builds(
        a_run,
        st.sampled_from("abc"),
        st.sampled_from([0.5, 0.6, 0.7]),
        seed=st.integers(0, 2),
        latency_us=st.integers(1, 5),
        params=st.integers(1, 5),
    ),
    min_size=1,
    unique_by=lambda run: (run.data.tags["student"], run.data.tags["seed"]),
)


@given(some_runs, st.none() | st.integers(0, 5))
def test_nothing_within_the_limits_is_as_cheap_and_clearly_better(
    runs: list[Any], params: int | None
) -> None:
    (choice,) = choose(runs, Limits(params=params))
    (everything,) = choose(runs, Limits())
    assert choice.considered == len({run.data.tags["student"] for run in runs})
    if choice.option is None:
        assert all(option.cost("params") > params for option in everything.front)  # type: ignore[operator]
        return
    assert params is None or choice.option.cost("params") <= params
    best = max(option.mean for option in choice.front)
    for option in choice.front:
        if option.cost("latency_us") < choice.option.cost("latency_us"):
            assert option.mean < best


@given(some_runs)
def test_of_two_on_the_front_the_dearer_is_better(runs: list[Any]) -> None:
    (choice,) = choose(runs, Limits())
    for cheap, dear in itertools.pairwise(choice.front):
        assert cheap.cost("latency_us") <= dear.cost("latency_us")
        assert cheap.mean < dear.mean
    assert pareto_front(choice.front, "latency_us") == list(choice.front)
