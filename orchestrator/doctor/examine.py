"""All looks, in the order in which a sweep would need what they look at."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

from torch import Tensor

from kd_models.data import ImageSet
from orchestrator.console import Say
from orchestrator.doctor.findings import Finding, Look
from orchestrator.doctor.machine import Machine, Needs, Question, compare, describe
from orchestrator.doctor.places import LeftWords, look_at_places
from orchestrator.doctor.tracking import look_at_mlflow
from orchestrator.doctor.upload import look_at_upload
from orchestrator.executors.base import Executor, Reply
from orchestrator.planning.plan import Plan
from orchestrator.planning.prepare import prepare
from orchestrator.planning.spec import SweepSpec
from orchestrator.planning.storage import StorageSpec


def quick_look(storage: StorageSpec) -> list[Finding]:
    """Return what can be found in a second, from here: a sweep begins with it."""
    return [*look_at_places(storage, large=False), *look_at_mlflow(storage, write=False)]


def examine(spec: SweepSpec, executor: Executor, say: Say) -> Iterator[Finding]:
    """Yield what is found of everything that a sweep needs, from here and from every machine.

    Args:
        spec: the sweep.
        executor: would train its packs.
        say: told of what takes a while.
    """
    yield from look_at_places(spec.storage, large=True)
    yield from look_at_mlflow(spec.storage, write=True)
    data, size = _look_at_data(spec, say)
    yield from data
    yield from Look("upload").attempt(
        lambda: look_at_upload(Path.cwd()), "see whether every file below this folder can be read"
    )
    look = Look("cluster")
    started: list[Finding] = look.attempt(lambda: _start(executor, say), "start the cluster")
    yield from started
    if started:
        return
    try:
        yield from look.attempt(lambda: _room(look, executor, spec), "use a larger cluster")
        say("asking every machine")
        needs = Needs(gpus=spec.resources.gpus_per_worker > 0, data=size)
        yield from _machines(executor, _with_whole_paths(spec.storage), needs)
    finally:
        executor.stop()


def _start(executor: Executor, say: Say) -> Iterator[Finding]:
    executor.start(say)
    yield from ()


def _room(look: Look, executor: Executor, spec: SweepSpec) -> Iterator[Finding]:
    room = executor.check_room(spec)
    if room:
        yield look.ok(f"it runs {room} trials at once")
    else:
        yield look.warning(
            "it has no machine for a trial yet, and may grow: what is not there was not examined",
            "to have one examined, ask again while it runs (ray status says whether it comes)",
        )


def _with_whole_paths(storage: StorageSpec) -> StorageSpec:
    """Return places that mean the same in every process."""
    whole = {"root": storage.root_uri, "store": storage.store_uri}
    return storage.model_copy(update=whole)


def _machines(executor: Executor, storage: StorageSpec, needs: Needs) -> Iterator[Finding]:
    here = describe(Path(tempfile.gettempdir()))
    with LeftWords(storage) as words:
        for reply in executor.ask_machines(Question(storage, words)):
            if reply.answer is None:
                yield Look("machine", reply.machine).fault(
                    f"it does not answer ({reply.problem})",
                    "see Ray's logs there; the project has to be importable there, as it is in a "
                    "job that was submitted with --working-dir",
                )
                continue
            ahead = _ahead(reply, reply.answer.time)
            yield from compare(reply.machine, reply.answer, here, reply.resources, needs, ahead)


def _ahead(reply: Reply[Machine], there: float) -> float:
    """Return by how many seconds at least a machine's clock is ahead, or behind if negative."""
    return max(there - reply.answered, 0.0) or min(there - reply.asked, 0.0)


def _look_at_data(spec: SweepSpec, say: Say) -> tuple[list[Finding], int]:
    """Return what is found of the datasets, and how many bytes of them travel."""
    look, notes, sizes = Look("data"), list[Finding](), list[int]()

    def tell(line: str) -> None:
        what = line.removeprefix("warning: ")
        if what == line:
            say(line)
        else:
            notes.append(look.warning(what, "see whether that is meant"))

    def work() -> Iterator[Finding]:
        prepared = prepare(spec, tell, download=False)
        sizes.extend(_bytes_of(each, prepared.plan) for each in prepared.images.values())
        yield look.ok(_plan_in_words(prepared.plan))

    found = look.attempt(work, "put the data where the sweep file says")
    return [*notes, *found], sum(sizes)


def _bytes_of(images: ImageSet, plan: Plan) -> int:
    """Return how much of a dataset travels: photographs do as networks take them."""
    stages = [stage for stage in plan.stages.values() if stage.dataset == images.name]
    shapes = {(stage.image_size, stage.step.detector.channels) for stage in stages}
    converted = sum(4 * channels * size * size for size, channels in shapes)
    splits = (images.train.images, images.test.images)
    return sum(
        split.nbytes if isinstance(split, Tensor) else len(split) * converted for split in splits
    )


def _plan_in_words(plan: Plan) -> str:
    datasets = ", ".join(plan.spec.datasets)
    return f"{datasets}: {len(plan.candidates)} candidates, {len(plan.stages)} stages"
