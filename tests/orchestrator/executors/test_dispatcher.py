"""Packs handed out: leased, waited for where others train them, and again where one was lost."""

from collections.abc import Callable
from typing import Any

import pytest

from orchestrator.executors import dispatcher as module
from orchestrator.executors.base import Work
from orchestrator.executors.dispatcher import Dispatcher
from orchestrator.planning.pack import Pack
from orchestrator.planning.plan import Plan
from orchestrator.planning.schedule import Schedule
from orchestrator.store.leases import Leases
from orchestrator.store.objects import StoreError
from orchestrator.store.stages import Store

Dispatch = Callable[..., Dispatcher]


@pytest.fixture
def plan(real_plan: Callable[..., Plan]) -> Plan:
    """Two teachers in one pack, and two students in another."""
    return real_plan(normal_classes=[0, 1])


@pytest.fixture
def dispatch(
    plan: Plan, work: Callable[..., Work], store: Store, listener: Any, request: Any
) -> Dispatch:
    """Makes a dispatcher of the plan's packs, as another sweep of the same place would."""

    def make(concurrent: int = 2, **resources: Any) -> Dispatcher:
        leases = Leases(store.objects)
        leases.__enter__()
        request.addfinalizer(lambda: leases.__exit__(None, None, None))
        packs = plan.packs(concurrent=1)
        return Dispatcher(Schedule(packs, concurrent), work(**resources), leases, listener)

    return make


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_ASKED_AGAIN_AFTER", 0.0)


def finish(store: Store, pack: Pack) -> None:
    for stage in pack.stages:
        store.write(stage.key, {"made up": stage.key.encode()})


def test_packs_come_when_their_parents_are_there(
    plan: Plan, dispatch: Dispatch, store: Store, listener: Any
) -> None:
    dispatcher = dispatch()
    teachers = dispatcher.next()
    assert teachers is not None
    assert [stage.kind for stage in teachers.stages] == ["teacher", "teacher"]
    assert dispatcher.next() is None
    finish(store, teachers)
    dispatcher.ended(teachers, {})
    students = dispatcher.next()
    assert students is not None
    assert [stage.kind for stage in students.stages] == ["student", "student"]
    finish(store, students)
    dispatcher.ended(students, {})
    assert dispatcher.over
    assert listener.events == [f"ended {teachers.title}", f"ended {students.title}"]


def test_what_another_sweep_trains_is_waited_for_and_then_had(
    dispatch: Dispatch, store: Store, listener: Any
) -> None:
    first, second = dispatch(), dispatch()
    teachers = first.next()
    assert teachers is not None
    for _ in range(3):
        assert second.next() is None
    assert not second.over
    (line,) = listener.events
    assert line.startswith("waiting for process ")
    assert line.endswith(f"which trains {teachers.title}")
    finish(store, teachers)
    first.ended(teachers, {})
    students = second.next()
    assert students is not None
    assert students.stages[0].kind == "student"
    assert first.next() is None
    assert listener.events.count(f"ended {teachers.title}") == 2


def test_of_a_pack_another_sweep_trains_in_part_the_rest_is_trained_here(
    plan: Plan, dispatch: Dispatch, store: Store
) -> None:
    (one, other) = plan.packs()[0].stages
    with Leases(store.objects) as leases:
        assert leases.take([one.key]) == {}
        dispatcher = dispatch()
        pack = dispatcher.next()
        assert pack is not None
        assert pack.stages == (other,)
        finish(store, pack)
        dispatcher.ended(pack, {})
        assert dispatcher.next() is None
    # The other sweep gave up: what it trained is trained here.
    pack = dispatcher.next()
    assert pack is not None
    assert pack.stages == (one,)


def test_what_another_sweep_failed_to_train_is_tried_here_too(
    dispatch: Dispatch, store: Store
) -> None:
    first, second = dispatch(), dispatch()
    teachers = first.next()
    assert teachers is not None
    assert second.next() is None
    first.ended(teachers, {stage.key: "CannotTrain: no" for stage in teachers.stages})
    assert first.over, "the students of a teacher that failed are skipped"
    assert second.next() == teachers


def test_a_lost_pack_is_handed_out_again_so_often_and_no_more(
    dispatch: Dispatch, store: Store, listener: Any
) -> None:
    dispatcher = dispatch(retries=2)
    for _ in range(2):
        pack = dispatcher.next()
        assert pack is not None
        dispatcher.lost(pack, "its machine died")
    pack = dispatcher.next()
    assert pack is not None
    dispatcher.lost(pack, "its machine died")
    assert dispatcher.over
    assert listener.events == [
        *[f"{pack.title}: trying again (its machine died)"] * 2,
        f"ended {pack.title}, 2 failed",
    ]


def test_of_a_lost_pack_what_was_stored_is_finished(
    plan: Plan, dispatch: Dispatch, store: Store
) -> None:
    dispatcher = dispatch()
    pack = dispatcher.next()
    assert pack is not None
    (one, other) = pack.stages
    finish(store, Pack.of([one]))
    dispatcher.lost(pack, "its machine died")
    again = dispatcher.next()
    assert again is not None
    assert again.stages == (other,)
    finish(store, again)
    dispatcher.lost(again, "its machine died, but a moment too late")
    students = dispatcher.next()
    assert students is not None
    assert {stage.kind for stage in students.stages} == {"student"}


def test_a_store_that_cannot_be_reached_for_a_while_costs_nothing(
    dispatch: Dispatch, store: Store, listener: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    dispatcher = dispatch()

    def unreachable(*_: Any) -> Any:
        raise StoreError("s3://b/x cannot be read: EndpointConnectionError")

    def cut_off(context: pytest.MonkeyPatch) -> None:
        for name in ("put", "put_new", "get", "existing", "names", "delete"):
            context.setattr(store.objects, name, unreachable)

    with monkeypatch.context() as context:
        cut_off(context)
        assert dispatcher.next() is None
        assert dispatcher.next() is None
    pack = dispatcher.next()
    assert pack is not None
    assert [stage.kind for stage in pack.stages] == ["teacher", "teacher"]
    finish(store, pack)
    with monkeypatch.context() as context:
        cut_off(context)
        dispatcher.ended(pack, {})
        assert dispatcher.next() is None
    students = dispatcher.next()
    assert students is not None
    with monkeypatch.context() as context:
        cut_off(context)
        dispatcher.lost(students, "its machine died")
    finish(store, students)
    assert dispatcher.next() is None
    assert dispatcher.over
    (line,) = [line for line in listener.events if line.startswith("warning")]
    assert line == "warning: s3://b/x cannot be read: EndpointConnectionError; trying again"


def test_checkpoints_go_with_their_end_and_stay_where_a_pack_was_lost(
    dispatch: Dispatch, store: Store
) -> None:
    dispatcher = dispatch(retries=0)
    pack = dispatcher.next()
    assert pack is not None
    for stage in pack.stages:
        store.objects.put(f"checkpoints/{stage.key[:2]}/{stage.key}", b"half")
    dispatcher.lost(pack, "its machine died")
    assert len(list(store.objects.names("checkpoints/"))) == 2
    again = dispatch()
    pack = again.next()
    assert pack is not None
    again.ended(pack, {stage.key: "Diverged: it did" for stage in pack.stages})
    assert list(store.objects.names("checkpoints/")) == []
