"""The executor that runs packs as trials of Ray Tune."""

import logging
import os
import tempfile
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import ray
from ray import tune
from ray.tune.experiment import Trial

from orchestrator.console import Say
from orchestrator.executors.base import ExecutorError, Listener, Work
from orchestrator.executors.ray_tune.progress_actor import ProgressActor, ProgressEvent
from orchestrator.executors.ray_tune.searcher import PackSearcher
from orchestrator.executors.ray_tune.trial import (
    TRIAL_RESOURCES,
    SharedDatasets,
    SharedWeights,
    TrialContext,
    trial,
    worker_resources,
)
from orchestrator.planning.pack import Pack
from orchestrator.planning.schedule import Schedule
from orchestrator.planning.spec import Resources, SweepSpec

_POLL_SECONDS = 0.5


class RayTuneExecutor:
    """Runs packs as trials of Ray Tune.

    Args:
        address: of a Ray cluster; None for $RAY_ADDRESS, or a local Ray of its own.
    """

    def __init__(self, address: str | None = None) -> None:
        self._address = address or os.environ.get("RAY_ADDRESS")

    def start(self, say: Say) -> None:
        """Connect to the cluster, or start a local Ray.

        Raises:
            ExecutorError: there is no cluster at the address.
        """
        if self._address:
            try:
                ray.init(address=self._address, log_to_driver=False, logging_level=logging.ERROR)
            except (ConnectionError, ValueError) as error:
                raise ExecutorError(
                    f"no Ray cluster at {self._address} ({error}); give another --address, or "
                    "none and unset RAY_ADDRESS to start a local Ray"
                ) from None
        else:
            say("starting a local Ray (give --address or RAY_ADDRESS to use a cluster)")
            ray.init(
                address="local",
                include_dashboard=False,
                log_to_driver=False,
                logging_level=logging.ERROR,
            )

    def stop(self) -> None:
        """Disconnect; a local Ray ends."""
        ray.shutdown()

    def concurrent_packs(self, spec: SweepSpec) -> int:
        """Return how many trials the cluster runs at once; see :func:`concurrent_trials`."""
        return concurrent_trials(spec.resources)

    def run(self, schedule: Schedule, work: Work, listener: Listener) -> None:
        """Run the packs of a schedule."""
        progress = ProgressActor.remote()  # type: ignore[attr-defined]
        polling = _PollingListener(listener, progress)
        context = TrialContext(
            packs={pack.key: pack for pack in schedule.packs},
            run_context=replace(
                work.context(),
                images=SharedDatasets({i.name: ray.put(i) for i in work.images.values()}),
                read_pretrained=SharedWeights(ray.put(work.pretrained))
                if work.pretrained
                else None,
            ),
            resources=work.spec.resources,
            folder=work.folder,
            progress=progress,
        )
        # Ray Tune's own record of this run is of no use to the next: what is finished is in the
        # store, and what is not is in the Train runs, named by pack.
        with tempfile.TemporaryDirectory(prefix="kd-tune-") as scratch:
            os.environ.setdefault("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "1")
            os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")
            tuner = tune.Tuner(
                tune.with_resources(
                    tune.with_parameters(trial, context=context),
                    tune.PlacementGroupFactory([TRIAL_RESOURCES]),
                ),
                tune_config=tune.TuneConfig(
                    search_alg=PackSearcher(schedule, polling, work.store),
                    num_samples=-1,
                    reuse_actors=True,
                ),
                run_config=tune.RunConfig(
                    name="tune", storage_path=scratch, callbacks=[_Ticker(polling)], verbose=0
                ),
            )
            # It would warn of every trial that reported no metric; ours go to the progress actor.
            logging.getLogger("ray.tune").setLevel(logging.ERROR)
            tuner.fit()
        if not schedule.over:
            raise KeyboardInterrupt  # Tune took it for itself, and ended well


class _PollingListener:
    """Passes on the progress actor's events before anything else."""

    def __init__(self, listener: Listener, progress: Any) -> None:
        self._listener, self._progress = listener, progress
        self._polled = 0.0

    def pack_started(self, pack: Pack) -> None:
        self._listener.pack_started(pack)

    def pack_ended(self, pack: Pack, failures: Mapping[str, str]) -> Mapping[str, str]:
        self.poll()
        return self._listener.pack_ended(pack, failures)

    def epochs_finished(self, stage_key: str, rows: Any) -> None:
        self._listener.epochs_finished(stage_key, rows)

    def said(self, line: str) -> None:
        self._listener.said(line)

    def refresh(self) -> None:
        if time.monotonic() - self._polled > _POLL_SECONDS:
            self.poll()
            self._listener.refresh()

    def poll(self) -> None:
        self._polled = time.monotonic()
        events: list[ProgressEvent] = ray.get(self._progress.take.remote())
        for event in events:
            if event.line:
                self._listener.said(event.line)
            if event.rows:
                self._listener.epochs_finished(event.stage_key, event.rows)


class _Ticker(tune.Callback):
    """Lets a listener look around while Tune runs."""

    def __init__(self, listener: _PollingListener) -> None:
        self._listener = listener

    def __getstate__(self) -> dict[str, Any]:
        return {}  # Tune pickles its callbacks now and then, and would restore nothing from them

    def on_step_end(self, iteration: int, trials: list[Trial], **info: Any) -> None:
        self._listener.refresh()


def concurrent_trials(resources: Resources) -> int:
    """Return how many trials the cluster runs at once.

    Raises:
        ExecutorError: not even one fits; said at once, since Ray would wait for ever.
    """
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]

    def check(who: str, needed: int, each: Mapping[str, float], remedy: str) -> int:
        """Return how many times the cluster holds what must fit ``needed`` times."""
        room = sum(
            min(int(node.get(name, 0) / amount + 1e-9) for name, amount in each.items())
            for node in nodes
        )
        if room < needed:
            has = ", ".join(_amount(name, sum(n.get(name, 0) for n in nodes)) for name in each)
            needs = " and ".join(_amount(name, amount) for name, amount in each.items())
            raise ExecutorError(
                f"a trial needs {who} {needs}, but the cluster ({len(nodes)} nodes, "
                f"{has}) holds {room}; {remedy}, or use a larger cluster"
            )
        return room // needed

    fitting = min(
        check(
            f"{resources.workers} workers, each with",
            resources.workers,
            worker_resources(resources),
            "lower resources.workers, resources.gpus_per_worker or resources.cpus_per_worker",
        ),
        check("for itself", 1, TRIAL_RESOURCES, "start Ray with more (ray start --memory=BYTES)"),
    )
    if resources.concurrent_trials != "auto":
        fitting = min(fitting, resources.concurrent_trials)
    return fitting


def _amount(resource: str, amount: float) -> str:
    if resource == "memory":
        return f"{amount / 1e6:,.0f} MB of memory"
    return f"{amount:g} {resource}s"
