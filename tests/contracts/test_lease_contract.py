"""What leases do in every place: of several sweeps that want to train a stage, one does."""

import json
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from orchestrator.planning.keys import sha256
from orchestrator.store.leases import Leases, Owner
from orchestrator.store.objects import Objects

OpenPlace = Callable[[], Objects]

KEYS = [sha256(name) for name in ("one", "two", "three")]
ELSEWHERE = Owner("token", "far-away", "another boot and process", 7, 0.0)


def hold(objects: Objects, key: str, owner: Owner, generation: int = 0) -> None:
    """Let an owner that is not of this process hold a lease."""
    objects.put(f"owners/{owner.token}", json.dumps(asdict(owner)).encode())
    objects.put(f"leases/{key[:2]}/{key}/{generation}", owner.token.encode())


def test_a_lease_is_one_sweeps_until_it_is_released(place: OpenPlace) -> None:
    with Leases(place()) as first, Leases(place()) as second:
        assert first.take(KEYS[:2]) == {}
        assert first.take(KEYS[:2]) == {}, "what is held is held"
        owners = second.take(KEYS)
        assert owners.keys() == set(KEYS[:2])
        assert {owner.token for owner in owners.values()} == {first.owner.token}
        first.release(KEYS[:1])
        assert second.take(KEYS).keys() == {KEYS[1]}
        assert first.take(KEYS[:1]).keys() == {KEYS[0]}


def test_a_lease_whose_answer_was_lost_is_held(
    place: OpenPlace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was written, and the next try found it there: a sweep must not wait for itself."""
    objects = place()
    put_new = objects.put_new

    def and_lose_the_answer(name: str, data: bytes) -> bool:
        put_new(name, data)
        return False

    with Leases(objects) as leases, Leases(place()) as other:
        with monkeypatch.context() as context:
            context.setattr(objects, "put_new", and_lose_the_answer)
            assert leases.take(KEYS) == {}
        assert other.take(KEYS).keys() == set(KEYS)
        leases.release(KEYS)
        assert other.take(KEYS) == {}


def test_nothing_is_left_behind(place: OpenPlace) -> None:
    with Leases(place()) as leases:
        leases.take(KEYS)
    assert list(place().names("")) == []


def test_of_many_that_want_a_lease_one_has_it(place: OpenPlace) -> None:
    sweeps = [Leases(place()) for _ in range(6)]
    for leases in sweeps:
        leases.__enter__()
    with ThreadPoolExecutor(6) as pool:
        for n in range(5):
            key = sha256(str(n))
            taken = list(pool.map(lambda leases, key=key: leases.take([key]), sweeps))
            assert sum(not owners for owners in taken) == 1
    for leases in sweeps:
        leases.__exit__(None, None, None)
    assert list(place().names("")) == []


def test_what_a_dead_process_held_is_taken_over_at_once(place: OpenPlace) -> None:
    code = "from orchestrator.store.leases import Owner; import json, dataclasses; "
    code += "print(json.dumps(dataclasses.asdict(Owner.this_process())))"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True)
    dead = Owner(**json.loads(ended.stdout))
    assert dead.has_died is True
    hold(place(), KEYS[0], dead)
    with Leases(place()) as leases, Leases(place()) as late:
        assert leases.take(KEYS[:1]) == {}
        assert late.take(KEYS[:1])[KEYS[0]].token == leases.owner.token
        leases.release(KEYS[:1])
        assert late.take(KEYS[:1]) == {}


@pytest.mark.slow
def test_another_machine_s_lease_lapses_when_it_gives_no_sign_of_life(place: OpenPlace) -> None:
    objects = place()
    hold(objects, KEYS[0], ELSEWHERE)
    with Leases(place(), lapses_after=2.0) as leases:
        (owner,) = leases.take(KEYS[:1]).values()
        assert str(owner) == "process 7 on far-away"
        for renewed in (1.0, 2.0):
            time.sleep(1.5)
            hold(objects, KEYS[0], replace(ELSEWHERE, renewed=renewed))
            assert leases.take(KEYS[:1]).keys() == {KEYS[0]}, "it is alive"
        time.sleep(0.3)
        assert leases.take(KEYS[:1]).keys() == {KEYS[0]}, "it may be"
        time.sleep(2.0)
        assert leases.take(KEYS[:1]) == {}


def test_an_owner_of_which_nothing_is_known_lapses_too(place: OpenPlace) -> None:
    objects = place()
    hold(objects, KEYS[0], ELSEWHERE, generation=3)
    objects.delete(f"owners/{ELSEWHERE.token}")
    with Leases(place(), lapses_after=0.3) as leases:
        (owner,) = leases.take(KEYS[:1]).values()
        assert owner.host == "another machine"
        time.sleep(0.5)
        assert leases.take(KEYS[:1]) == {}
    assert list(place().names("leases/")) == []


def test_an_owner_gives_signs_of_life(place: OpenPlace) -> None:
    objects = place()
    with Leases(objects, lapses_after=0.4) as leases:
        seen = set()
        for _ in range(4):
            seen.add(objects.get(f"owners/{leases.owner.token}"))
            time.sleep(0.3)
    assert len(seen) >= 3


@pytest.mark.parametrize("content", [b"", b"{", b'{"token": "x"}', b"[1]"])
def test_an_owner_that_cannot_be_read_holds_until_it_lapses(
    place: OpenPlace, content: bytes
) -> None:
    objects = place()
    hold(objects, KEYS[0], ELSEWHERE)
    objects.put(f"owners/{ELSEWHERE.token}", content)
    with Leases(place(), lapses_after=0.3) as leases:
        assert leases.take(KEYS[:1]).keys() == {KEYS[0]}
        time.sleep(0.5)
        assert leases.take(KEYS[:1]) == {}


def test_whether_a_process_of_this_machine_lives_is_seen(tmp_path: Path) -> None:
    mine = Owner.this_process()
    assert mine.has_died is False
    assert replace(mine, pid=2**22 + 1).has_died is True
    assert replace(mine, host="far-away").has_died is None
    _, *rest = mine.process.split()
    assert replace(mine, process=" ".join(["another-boot", *rest])).has_died is None
    assert replace(mine, process=f"{mine.process}1").has_died is True, "its number was used again"
