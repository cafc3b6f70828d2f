"""What every store must do, whatever it is built on.

A store is tested through ``Kit``: the store, a second one onto the same place (another machine's),
and a way to damage what lies there.
"""

import json
from abc import ABC, abstractmethod
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from orchestrator.errors import UserError
from orchestrator.planning.keys import sha256
from orchestrator.store.base import CorruptStage, Store, StoreError
from orchestrator.store.folder import MANIFEST, FolderStore

KEY = sha256("some stage")
OTHER = sha256("another stage")
FILES = {"networks.safetensors": bytes(range(256)) * 9, "history.json": b"[]", "empty": b""}


class Kit(ABC):
    """A store and what a test may do behind its back."""

    @abstractmethod
    def store(self) -> Store:
        """A new store object onto the same place."""

    @abstractmethod
    def unwritable(self) -> tuple[Store, str]:
        """A store that nothing can be written to, and the place that its error must name."""

    @abstractmethod
    def names(self, key: str) -> set[str]:
        """What lies there for a stage."""

    @abstractmethod
    def get(self, key: str, name: str) -> bytes: ...

    @abstractmethod
    def put(self, key: str, name: str, data: bytes) -> None: ...

    @abstractmethod
    def remove(self, key: str, name: str) -> None: ...

    @abstractmethod
    def die_while_writing(self, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
        """From now on a writer dies when it comes to the file ``name``."""


class Died(Exception):
    """What a test raises in place of SIGKILL."""


@dataclass
class FolderKit(Kit):
    root: Path

    def store(self) -> Store:
        return FolderStore(self.root / "store")

    def unwritable(self) -> tuple[Store, str]:
        # Root may write anywhere, but not below a file.
        (self.root / "file").write_text("")
        place = self.root / "file/store"
        return FolderStore(place), str(place)

    def names(self, key: str) -> set[str]:
        return {path.name for path in self._folder(key).iterdir()}

    def get(self, key: str, name: str) -> bytes:
        return (self._folder(key) / name).read_bytes()

    def put(self, key: str, name: str, data: bytes) -> None:
        (self._folder(key) / name).write_bytes(data)

    def remove(self, key: str, name: str) -> None:
        (self._folder(key) / name).unlink()

    def die_while_writing(self, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
        from orchestrator.store import folder as store

        write = store._write

        def write_or_die(path: Path, data: bytes) -> None:
            if path.name == name:
                raise Died
            write(path, data)

        monkeypatch.setattr(store, "_write", write_or_die)

    def _folder(self, key: str) -> Path:
        return self.root / "store/stages" / key[:2] / key


KITS: dict[str, Callable[[Path], Kit]] = {"folder": FolderKit}


@pytest.fixture(params=KITS)
def kit(request: pytest.FixtureRequest, tmp_path: Path) -> Kit:
    return KITS[request.param](tmp_path)


@pytest.fixture
def store(kit: Kit) -> Store:
    return kit.store()


# Writing and reading


def test_what_is_written_is_read(kit: Kit, store: Store) -> None:
    store.write(KEY, FILES)
    for reader in (store, kit.store()):
        assert reader.has(KEY) is True
        assert {name: reader.read(KEY, name) for name in FILES} == FILES


def test_what_was_never_written_is_not_there(store: Store) -> None:
    assert store.has(KEY) is False
    with pytest.raises(KeyError, match=KEY):
        store.read(KEY, "history.json")


def test_a_stage_is_not_another(store: Store) -> None:
    store.write(KEY, FILES)
    assert store.has(OTHER) is False
    store.write(OTHER, {"history.json": b"[1]"})
    assert store.read(KEY, "history.json") == b"[]"
    assert store.read(OTHER, "history.json") == b"[1]"


def test_a_file_that_the_stage_does_not_have(store: Store) -> None:
    store.write(KEY, FILES)
    with pytest.raises(CorruptStage, match=r"nothing\.json is not in the stage's manifest\.json"):
        store.read(KEY, "nothing.json")


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    st.text("0123456789abcdef", min_size=64, max_size=64),
    st.dictionaries(
        st.from_regex(r"[a-z]{1,9}\.[a-z]{1,9}", fullmatch=True).filter(MANIFEST.__ne__),
        st.binary(max_size=500),
        max_size=4,
    ),
)
def test_any_bytes_come_back(kit: Kit, key: str, files: dict[str, bytes]) -> None:
    store = kit.store()
    store.write(key, files)
    assert store.has(key)
    assert {name: store.read(key, name) for name in files} == files


def test_the_manifest_says_what_was_stored(kit: Kit, store: Store) -> None:
    store.write(KEY, FILES)
    manifest = json.loads(kit.get(KEY, MANIFEST))
    assert manifest["key"] == KEY
    assert manifest["files"] == {
        name: {"sha256": sha256(data), "bytes": len(data)} for name, data in FILES.items()
    }


def test_nothing_else_is_left_behind(kit: Kit, store: Store) -> None:
    store.write(KEY, FILES)
    assert kit.names(KEY) == {MANIFEST, *FILES}


def test_writing_again_is_fine(store: Store) -> None:
    store.write(KEY, FILES)
    store.write(KEY, FILES)
    assert store.has(KEY)
    assert {name: store.read(KEY, name) for name in FILES} == FILES


# Half-written


@pytest.mark.parametrize("name", [*FILES, MANIFEST])
def test_a_writer_that_died_leaves_nothing_that_counts(
    kit: Kit, store: Store, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    with monkeypatch.context() as patched:
        kit.die_while_writing(patched, name)
        with pytest.raises(Died):
            store.write(KEY, FILES)
    assert store.has(KEY) is False
    with pytest.raises(KeyError):
        store.read(KEY, "history.json")
    store.write(KEY, FILES)
    assert store.has(KEY)


def test_without_its_manifest_a_stage_is_not_there(kit: Kit, store: Store) -> None:
    store.write(KEY, FILES)
    kit.remove(KEY, MANIFEST)
    assert kit.names(KEY) == set(FILES)
    assert store.has(KEY) is False


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
    kit: Kit, store: Store, name: str, damage: str
) -> None:
    store.write(KEY, FILES)
    kit.put(KEY, name, DAMAGE[damage](FILES[name]))
    for look in (lambda: store.has(KEY), lambda: store.read(KEY, name)):
        with pytest.raises(CorruptStage, match=f"{KEY}/{name} is not what manifest.json says"):
            look()
    assert store.read(KEY, "empty") == b""


@pytest.mark.parametrize("name", FILES)
def test_a_missing_file_is_found_out_and_named(kit: Kit, store: Store, name: str) -> None:
    store.write(KEY, FILES)
    kit.remove(KEY, name)
    for look in (lambda: store.has(KEY), lambda: store.read(KEY, name)):
        with pytest.raises(CorruptStage, match=f"{KEY}/{name} cannot be read"):
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
def test_a_damaged_manifest_is_found_out_and_named(kit: Kit, store: Store, manifest: bytes) -> None:
    store.write(KEY, FILES)
    kit.put(KEY, MANIFEST, manifest)
    for look in (lambda: store.has(KEY), lambda: store.read(KEY, "history.json")):
        with pytest.raises(CorruptStage, match=f"{KEY}/{MANIFEST} cannot be read"):
            look()


def test_a_manifest_cut_anywhere_is_found_out(kit: Kit, store: Store) -> None:
    store.write(KEY, FILES)
    whole = kit.get(KEY, MANIFEST)
    for length in range(0, len(whole), 7):
        kit.put(KEY, MANIFEST, whole[:length])
        with pytest.raises(CorruptStage, match=MANIFEST):
            store.has(KEY)


def test_writing_again_mends_a_damaged_stage(kit: Kit, store: Store) -> None:
    store.write(KEY, FILES)
    kit.put(KEY, "history.json", b"?")
    kit.remove(KEY, "empty")
    store.write(KEY, FILES)
    assert store.has(KEY)


# Others at the same time


def test_many_writers_of_one_stage_end_in_one_whole_stage(kit: Kit) -> None:
    big = {**FILES, "scores": bytes(200_000)}
    with ThreadPoolExecutor(8) as pool:
        for written in [pool.submit(kit.store().write, KEY, big) for _ in range(16)]:
            written.result()
    assert kit.store().has(KEY)
    assert kit.names(KEY) == {MANIFEST, *big}


def test_of_unequal_writers_one_wins_whole(kit: Kit) -> None:
    """Two sweeps that train the same stage at once differ by rounding."""
    versions = [{"a": bytes([n]) * 50_000, "b": bytes([n]) * 50_000} for n in range(8)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda files: kit.store().write(KEY, files), versions * 4))
    assert kit.store().has(KEY)
    assert {name: kit.store().read(KEY, name) for name in ("a", "b")} in versions


def test_a_reader_sees_nothing_or_everything_while_others_write(kit: Kit) -> None:
    def look() -> list[Any]:
        return [kit.store().has(KEY) for _ in range(40)]

    with ThreadPoolExecutor(6) as pool:
        seen = [pool.submit(look) for _ in range(3)]
        for _ in range(3):
            pool.submit(kit.store().write, KEY, {**FILES, "scores": bytes(200_000)})
        answers = [answer for future in seen for answer in future.result()]
    assert set(answers) <= {False, True}
    assert kit.store().has(KEY)


def test_writers_of_many_stages_do_not_meet(kit: Kit) -> None:
    # All under one prefix, as keys of a large sweep are.
    keys = [f"ab{n:062x}" for n in range(24)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda key: kit.store().write(key, {"name": key.encode()}), keys))
    assert [kit.store().read(key, "name").decode() for key in keys] == keys


# Whether it can be used


def test_a_new_store_can_be_written(store: Store) -> None:
    store.check_writable()
    store.check_writable()
    assert store.has(KEY) is False


def test_a_store_that_cannot_be_written_says_where_and_what_to_do(kit: Kit) -> None:
    store, place = kit.unwritable()
    with pytest.raises(StoreError) as caught:
        store.check_writable()
    assert isinstance(caught.value, UserError)
    assert f"the store {place} cannot be written" in str(caught.value)
    assert "set storage.store" in str(caught.value)
