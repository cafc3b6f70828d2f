"""Release of packs over a DAG, with failures anywhere."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.planning.pack import Pack
from orchestrator.planning.plan import Plan
from orchestrator.planning.schedule import Schedule
from orchestrator.planning.stage import Stage


@pytest.fixture(scope="session")
def stage_of(plan_of: Callable[..., Plan]) -> Callable[..., Stage]:
    """Stages that differ in a made-up fingerprint."""
    one: Stage = next(iter(plan_of().stages.values()))

    def build(name: str, *parents: Stage) -> Stage:
        return replace(one, fingerprint=name, parents=tuple(parent.key for parent in parents))

    return build


@dataclass(frozen=True)
class Shape:
    """A DAG as numbers: of every pack its lanes, of every lane the earlier lanes it needs."""

    packs: tuple[tuple[frozenset[tuple[int, int]], ...], ...]


@st.composite
def shapes(draw: st.DrawFn) -> Shape:
    packs: list[tuple[frozenset[tuple[int, int]], ...]] = []
    for _ in range(draw(st.integers(0, 9))):
        earlier = [(p, lane) for p, lanes in enumerate(packs) for lane in range(len(lanes))]
        some = (
            st.frozensets(st.sampled_from(earlier), max_size=3) if earlier else st.just(frozenset())
        )
        packs.append(tuple(draw(some) for _ in range(draw(st.integers(1, 2)))))
    return Shape(tuple(packs))


def packs_of(shape: Shape, stage_of: Callable[..., Stage]) -> list[Pack]:
    packs: list[Pack] = []
    for p, lanes in enumerate(shape.packs):
        stages = (
            stage_of(f"{p}.{n}", *(packs[i].stages[j] for i, j in sorted(needed)))
            for n, needed in enumerate(lanes)
        )
        packs.append(Pack.of(tuple(stages)))
    return packs


@given(shape=shapes(), concurrent=st.integers(1, 4), data=st.data())
@settings(max_examples=200, deadline=None)
def test_any_sweep_comes_to_its_end(
    stage_of: Callable[..., Stage], shape: Shape, concurrent: int, data: st.DataObject
) -> None:
    packs = packs_of(shape, stage_of)
    all_stages = [stage.key for pack in packs for stage in pack.stages]
    doomed = data.draw(st.sets(st.sampled_from(all_stages))) if all_stages else set()
    schedule = Schedule(packs, concurrent)
    started: list[str] = []
    running: list[Pack] = []
    trained: set[str] = set()

    while not schedule.over:
        while (pack := schedule.start_next()) is not None:
            assert pack.parents <= trained
            started.append(pack.key)
            running.append(pack)
            assert len(running) <= concurrent
        assert running, "nothing runs, nothing can start, and yet it is not over"
        if len(running) < concurrent:
            idle = {p.key for p in packs} - set(started)
            lost = schedule.failed.keys() | schedule.skipped.keys()
            ready = [
                pack
                for pack in packs
                if pack.key in idle
                and (left := [s for s in pack.stages if not lost & set(s.parents)])
                and {parent for stage in left for parent in stage.parents} <= trained
            ]
            assert not ready, "a place is free and a pack could start"
        ended = running.pop(data.draw(st.integers(0, len(running) - 1)))
        failures = {stage.key: f"why {stage.key}" for stage in ended.stages if stage.key in doomed}
        trained |= {stage.key for stage in ended.stages} - failures.keys()
        schedule.finish(ended.key, failures)

    failed, skipped = failed_and_skipped(packs, doomed)
    assert sorted(started) == sorted(
        pack.key for pack in packs if {stage.key for stage in pack.stages} - skipped
    )
    assert schedule.failed == {key: f"why {key}" for key in failed}
    assert schedule.skipped.keys() == skipped
    assert set(schedule.skipped.values()) <= failed
    assert schedule.finished == trained
    assert trained | failed | skipped == set(all_stages)
    assert schedule.start_next() is None


def failed_and_skipped(packs: list[Pack], doomed: set[str]) -> tuple[set[str], set[str]]:
    """What must become of all: a stage with a lost parent is lost, all others run."""
    failed: set[str] = set()
    skipped: set[str] = set()
    for stage in (stage for pack in packs for stage in pack.stages):
        if set(stage.parents) & (failed | skipped):
            skipped.add(stage.key)
        elif stage.key in doomed:
            failed.add(stage.key)
    return failed, skipped


def test_finished_parents_that_are_not_among_the_packs_hold_nobody_up(
    stage_of: Callable[..., Stage],
) -> None:
    teacher = stage_of("teacher")
    student = Pack.of([stage_of("student", teacher)])
    assert Schedule([student], 1).start_next() == student


def test_a_lost_parent_takes_its_own_lane_of_a_pack_along_and_no_other(
    stage_of: Callable[..., Stage],
) -> None:
    good, bad = stage_of("good"), stage_of("bad")
    parents, children = Pack.of([good, bad]), [stage_of("of good", good), stage_of("of bad", bad)]
    schedule = Schedule([parents, Pack.of(children)], 1)
    schedule.start_next()
    schedule.finish(parents.key, {bad.key: "NaN"})
    left = schedule.start_next()
    assert left is not None
    assert (left.key, left.stages) == (Pack.of(children).key, (children[0],))
    assert schedule.skipped == {children[1].key: bad.key}


def test_nothing_to_do_is_over_at_once() -> None:
    schedule = Schedule([], 3)
    assert schedule.over
    assert schedule.start_next() is None


def test_it_is_not_over_while_the_last_pack_runs(stage_of: Callable[..., Stage]) -> None:
    pack = Pack.of([stage_of("only")])
    schedule = Schedule([pack], 1)
    assert schedule.start_next() == pack
    assert not schedule.over
    schedule.finish(pack.key, {})
    assert schedule.over


def test_a_skipped_stage_names_the_failure_at_the_root(stage_of: Callable[..., Stage]) -> None:
    teacher = stage_of("teacher")
    first = stage_of("first", teacher)
    second = stage_of("second", teacher, first)
    other = stage_of("other")
    schedule = Schedule([Pack.of([stage]) for stage in (teacher, first, second, other)], 1)
    assert schedule.start_next() == Pack.of([teacher])
    schedule.finish(teacher.key, {teacher.key: "NaN"})
    assert schedule.failed == {teacher.key: "NaN"}
    assert schedule.skipped == {first.key: teacher.key, second.key: teacher.key}
    assert schedule.start_next() == Pack.of([other])


def test_the_lane_that_did_not_fail_sets_its_children_free(stage_of: Callable[..., Stage]) -> None:
    good, bad = stage_of("good"), stage_of("bad")
    both = Pack.of([good, bad])
    children = [Pack.of([stage_of(f"of {s.fingerprint}", s)]) for s in (good, bad)]
    schedule = Schedule([both, *children], 2)
    assert schedule.start_next() == both
    assert schedule.start_next() is None
    schedule.finish(both.key, {bad.key: "NaN"})
    assert schedule.start_next() == children[0]
    assert schedule.skipped == {children[1].key: bad.key}
