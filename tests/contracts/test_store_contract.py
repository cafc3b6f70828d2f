"""What a store of stages does in every place: whole stages or none, whatever happens."""

import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from orchestrator.planning.keys import sha256
from orchestrator.store import open_objects, open_store
from orchestrator.store.objects import Objects, StoreError
from orchestrator.store.stages import CorruptStage, Store

OpenPlace = Callable[[], Objects]

KEY = sha256("some stage")
OTHER = sha256("another stage")
FILES = {"networks.safetensors": bytes(range(256)) * 9, "history.json": b"[]", "empty": b""}
MANIFEST = f"stages/{KEY[:2]}/{KEY}.json"


@pytest.fixture
def store(objects: Objects) -> Store:
    return Store(objects)


def blob(name: str) -> str:
    digest = sha256(FILES[name])
    return f"blobs/{digest[:2]}/{digest}"


class Died(Exception):
    """What a test raises in place of SIGKILL."""


class Dying:
    """A place whose process dies when it has written so often."""

    def __init__(self, objects: Objects, writes: int) -> None:
        self._objects, self._left = objects, writes

    def put(self, name: str, data: bytes) -> None:
        self._count()
        self._objects.put(name, data)

    def put_new(self, name: str, data: bytes) -> bool:
        self._count()
        return self._objects.put_new(name, data)

    def _count(self) -> None:
        if not self._left:
            raise Died
        self._left -= 1

    def __getattr__(self, name: str) -> Any:
        return getattr(self._objects, name)


class Unconditional:
    """A place that ignores whether an object is there already, as some servers do."""

    def __init__(self, objects: Objects) -> None:
        self._objects = objects

    def put_new(self, name: str, data: bytes) -> bool:
        self._objects.put(name, data)
        return True

    def __getattr__(self, name: str) -> Any:
        return getattr(self._objects, name)


# Writing and reading


def test_what_is_written_is_read(place: OpenPlace, store: Store) -> None:
    store.write(KEY, FILES)
    for reader in (store, Store(place())):
        assert reader.has(KEY) is True
        reader.verify(KEY)
        assert {name: reader.read(KEY, name) for name in FILES} == FILES


def test_what_was_never_written_is_not_there(store: Store) -> None:
    assert store.has(KEY) is False
    with pytest.raises(KeyError, match=KEY):
        store.read(KEY, "history.json")
    with pytest.raises(KeyError, match=KEY):
        store.verify(KEY)


def test_a_stage_is_not_another(store: Store) -> None:
    store.write(KEY, FILES)
    assert store.has(OTHER) is False
    store.write(OTHER, {"history.json": b"[1]"})
    assert store.read(KEY, "history.json") == b"[]"
    assert store.read(OTHER, "history.json") == b"[1]"
    assert store.present([KEY, OTHER, sha256("a third")]) == {KEY, OTHER}


def test_a_file_that_the_stage_does_not_have(store: Store) -> None:
    store.write(KEY, FILES)
    with pytest.raises(CorruptStage, match=r"nothing\.json of stage .* is not in .*manifest"):
        store.read(KEY, "nothing.json")


@settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    st.text("0123456789abcdef", min_size=64, max_size=64),
    st.dictionaries(
        st.from_regex(r"[a-z]{1,9}\.[a-z]{1,9}", fullmatch=True),
        st.binary(max_size=500),
        max_size=4,
    ),
)
def test_any_bytes_come_back(objects: Objects, key: str, files: dict[str, bytes]) -> None:
    store = Store(objects)
    store.discard(key)
    store.write(key, files)
    assert store.has(key)
    assert {name: store.read(key, name) for name in files} == files


def test_the_manifest_says_what_was_stored(objects: Objects, store: Store) -> None:
    store.write(KEY, FILES)
    manifest = json.loads(objects.get(MANIFEST))
    assert manifest["key"] == KEY
    assert manifest["files"] == {
        name: {"sha256": sha256(data), "bytes": len(data)} for name, data in FILES.items()
    }


def test_nothing_else_is_left_behind(objects: Objects, store: Store) -> None:
    store.write(KEY, FILES)
    store.write(KEY, FILES)
    assert set(objects.names("")) == {MANIFEST, *map(blob, FILES)}


def test_a_discarded_stage_is_not_there_and_may_be_written_again(store: Store) -> None:
    store.write(KEY, FILES)
    store.discard(KEY)
    assert store.has(KEY) is False
    with pytest.raises(KeyError):
        store.read(KEY, "history.json")
    store.write(KEY, {"history.json": b"[2]"})
    assert store.read(KEY, "history.json") == b"[2]"
    store.discard(OTHER)


# Half-written


@pytest.mark.parametrize("writes", range(len(FILES) + 1))
def test_a_writer_that_died_leaves_nothing_that_counts(
    objects: Objects, store: Store, writes: int
) -> None:
    with pytest.raises(Died):
        Store(Dying(objects, writes)).write(KEY, FILES)
    assert store.has(KEY) is False
    with pytest.raises(KeyError):
        store.read(KEY, "history.json")
    store.write(KEY, FILES)
    store.verify(KEY)


def test_a_file_half_written_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a folder, where a process may die at any byte."""
    store = open_store(str(tmp_path))

    def die(*_: Any) -> None:
        raise Died

    for step in ("os.fsync", "os.link", "os.replace"):
        with monkeypatch.context() as patched:
            patched.setattr(step, die)
            with pytest.raises(Died):
                store.write(KEY, FILES)
        assert store.has(KEY) is False
    store.write(KEY, FILES)
    store.verify(KEY)


# Damage


def flip(data: bytes) -> bytes:
    return data[:-1] + bytes([data[-1] ^ 1])


DAMAGE: dict[str, Callable[[bytes], bytes]] = {
    "one bit": flip,
    "cut short": lambda data: data[:-1],
    "emptied": lambda data: b"",
    "longer": lambda data: data + b"\0",
}


@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.parametrize("name", ["networks.safetensors", "history.json"])
def test_a_damaged_file_is_found_out_and_named(
    objects: Objects, store: Store, name: str, damage: str
) -> None:
    store.write(KEY, FILES)
    objects.put(blob(name), DAMAGE[damage](FILES[name]))
    for look in (lambda: store.verify(KEY), lambda: store.read(KEY, name)):
        with pytest.raises(CorruptStage, match=f"{name} of stage {KEY} is not what its manifest"):
            look()
    assert store.read(KEY, "empty") == b""


@pytest.mark.parametrize("name", FILES)
def test_a_missing_file_is_found_out_and_named(objects: Objects, store: Store, name: str) -> None:
    store.write(KEY, FILES)
    objects.delete(blob(name))
    for look in (lambda: store.verify(KEY), lambda: store.read(KEY, name)):
        with pytest.raises(CorruptStage, match=f"{name} of stage {KEY} is missing"):
            look()


@pytest.mark.parametrize(
    "manifest",
    [
        b"",
        b"{",
        b"\xff\xfe",
        b"[]",
        b"7",
        b"{}",
        b'{"files": []}',
        b'{"files": {"history.json": {}}}',
        b'{"files": {"history.json": "abc"}}',
    ],
)
def test_a_damaged_manifest_is_found_out_and_named(
    objects: Objects, store: Store, manifest: bytes
) -> None:
    objects.put(MANIFEST, manifest)
    for look in (lambda: store.verify(KEY), lambda: store.read(KEY, "history.json")):
        with pytest.raises(CorruptStage, match=f"{MANIFEST} cannot be read"):
            look()


def test_a_manifest_cut_anywhere_is_found_out(objects: Objects, store: Store) -> None:
    store.write(KEY, FILES)
    whole = objects.get(MANIFEST)
    for length in range(0, len(whole), 31):
        objects.put(MANIFEST, whole[:length])
        with pytest.raises(CorruptStage, match=KEY):
            Store(objects).verify(KEY)


def test_writing_again_mends_a_damaged_stage(objects: Objects, store: Store) -> None:
    """With bytes of its own, too: another machine rounds otherwise."""
    store.write(KEY, FILES)
    objects.put(blob("history.json"), b"?")
    objects.delete(blob("empty"))
    store.write(KEY, {**FILES, "networks.safetensors": b"rounded otherwise"})
    store.verify(KEY)


# Others at the same time


def test_many_writers_of_one_stage_end_in_one_whole_stage(place: OpenPlace) -> None:
    big = {**FILES, "scores": bytes(200_000)}
    machines = [Store(place()) for _ in range(4)]
    with ThreadPoolExecutor(8) as pool:
        for written in [pool.submit(machine.write, KEY, big) for machine in machines * 3]:
            written.result()
    Store(place()).verify(KEY)


@pytest.mark.parametrize("conditional", [True, False])
def test_of_unequal_writers_one_wins_whole(place: OpenPlace, conditional: bool) -> None:
    """Two sweeps that train the same stage at once differ by rounding."""
    versions = [{"a": bytes([n]) * 50_000, "b": bytes([n]) * 50_000} for n in range(6)]
    view = (lambda objects: objects) if conditional else Unconditional
    machines = [Store(view(place())) for _ in versions]
    with ThreadPoolExecutor(6) as pool:
        for _ in range(3):
            written = [
                pool.submit(machine.write, KEY, files)
                for machine, files in zip(machines, versions, strict=True)
            ]
            for future in written:
                future.result()
    reader = Store(place())
    assert {name: reader.read(KEY, name) for name in ("a", "b")} in versions


def test_a_reader_sees_nothing_or_everything_while_others_write(place: OpenPlace) -> None:
    writer, machines = Store(place()), [Store(place()) for _ in range(3)]

    def look(reader: Store) -> Iterator[bool]:
        for _ in range(40):
            is_there = reader.has(KEY)
            if is_there:
                reader.verify(KEY)
            yield is_there

    with ThreadPoolExecutor(6) as pool:
        seen = [pool.submit(list, look(reader)) for reader in machines]
        for n in range(3):
            pool.submit(writer.write, KEY, {**FILES, "scores": bytes([n]) * 200_000})
        answers = [answer for future in seen for answer in future.result()]
    assert set(answers) <= {False, True}
    assert answers == sorted(answers[:40]) + sorted(answers[40:80]) + sorted(answers[80:])
    Store(place()).verify(KEY)


def test_writers_of_many_stages_do_not_meet(place: OpenPlace) -> None:
    store = Store(place())
    keys = [f"ab{n:062x}" for n in range(24)]  # all under one prefix, as those of a large sweep
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda key: store.write(key, {"name": key.encode()}), keys))
    assert [Store(place()).read(key, "name").decode() for key in keys] == keys


Step = tuple[str, int, int]


def step() -> st.SearchStrategy[Step]:
    """What a machine does next: write whole, die after some writes, discard, or read."""
    return st.tuples(
        st.sampled_from(["write", "die", "read", "unconditional"]),
        st.integers(0, 3),  # whose bytes
        st.integers(0, 3),  # after how many writes
    )


class Interleaved:
    """A place whose every request first lets another machine take its steps."""

    def __init__(self, objects: Objects, others: Iterator[Callable[[], None]]) -> None:
        self._objects, self._others = objects, others

    def __getattr__(self, name: str) -> Any:
        def request(*arguments: Any) -> Any:
            for other in self._others:
                other()
                break
            return getattr(self._objects, name)(*arguments)

        return request


@pytest.mark.parametrize("kind", ["folder", pytest.param("s3", marks=pytest.mark.slow)])
@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(first=st.lists(step(), min_size=1, max_size=5), second=st.lists(step(), max_size=5))
def test_no_interleaving_of_unequal_writers_readers_and_crashes_tears_or_loses_a_stage(
    kind: str,
    first: list[Step],
    second: list[Step],
    tmp_path_factory: pytest.TempPathFactory,
    request: pytest.FixtureRequest,
) -> None:
    """Two machines; between any two requests of the one the other takes a whole step."""
    if kind == "s3":
        bucket = request.getfixturevalue("server").bucket
        objects = _on(f"s3://{bucket}/interleaved")
        for name in list(objects.names("")):
            objects.delete(name)
    else:
        objects = open_objects(str(tmp_path_factory.mktemp("interleaved")))
    versions = [{name: bytes([n]) * 99 for name in "abc"} for n in range(4)]
    was_there = False

    def take(on: Objects, what: Step) -> None:
        nonlocal was_there
        kind, version, writes = what
        if kind == "read":
            reader = Store(objects)
            is_there = reader.has(KEY)
            assert is_there or not was_there, "a stage that was there is lost"
            was_there = is_there
            if is_there:
                assert {name: reader.read(KEY, name) for name in "abc"} in versions
            return
        if kind == "die":
            on = Dying(on, writes)
        elif kind == "unconditional":
            on = Unconditional(on)
        try:
            Store(on).write(KEY, versions[version])
        except Died:
            return
        was_there = True

    others = iter([lambda what=what: take(objects, what) for what in second])
    for what in first:
        take(Interleaved(objects, others), what)
    for other in others:
        other()
    take(objects, ("read", 0, 0))


_OPENED: dict[str, Objects] = {}


def _on(uri: str) -> Objects:
    """Return one view for all examples: making a client takes longer than what it is asked."""
    return _OPENED.setdefault(uri, open_objects(uri))


# Whether it can be used


def test_a_new_store_can_be_written(store: Store) -> None:
    store.check_writable()
    assert store.has(KEY) is False


def test_a_store_that_cannot_be_written_says_so(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match=f"the store {tmp_path}/file/store cannot be written"):
        open_store(f"{tmp_path}/file/store").check_writable()
