"""The executor that runs packs as trials of Ray Tune."""

import logging
import os
import socket
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import ray
from ray import tune
from ray.tune.experiment import Trial
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from kd_models.data import convert_ahead
from orchestrator.console import Say
from orchestrator.executors.base import ExecutorError, Listener, Reply, T, Work
from orchestrator.executors.dispatcher import Dispatcher
from orchestrator.executors.ray_tune.capacity import Capacity
from orchestrator.executors.ray_tune.nodes import ask_nodes
from orchestrator.executors.ray_tune.progress_actor import ProgressActor
from orchestrator.executors.ray_tune.running_trials import RunningTrials
from orchestrator.executors.ray_tune.searcher import PackSearcher
from orchestrator.executors.ray_tune.trial import (
    TRIAL_RESOURCES,
    SharedArray,
    SharedDatasets,
    SharedStages,
    SharedWeights,
    TrialContext,
    trial,
)
from orchestrator.planning.schedule import Schedule
from orchestrator.planning.spec import SweepSpec
from orchestrator.planning.stage import Stage
from orchestrator.store.leases import Leases

_CLUSTER_LOOKED_AT_EVERY = 5.0
"""seconds"""


class RayTuneExecutor:
    """Runs packs as trials of Ray Tune.

    Args:
        address: of a Ray cluster; None for $RAY_ADDRESS, or a local Ray of its own.
    """

    def __init__(self, address: str | None = None) -> None:
        self._address = address or os.environ.get("RAY_ADDRESS")
        self._capacity: Capacity | None = None
        self._datasets = SharedDatasets({})

    def start(self, say: Say) -> None:
        """Connect to the cluster, or start a local Ray.

        Raises:
            ExecutorError: there is no cluster at the address.
        """
        if self._address:
            _check_listens(self._address)
            try:
                ray.init(address=self._address, log_to_driver=False, logging_level=logging.ERROR)
            except (ConnectionError, ValueError, RuntimeError) as error:
                # Ray does not tell a token that is refused from a cluster that is not there.
                raise ExecutorError(
                    f"the Ray cluster at {self._address} does not take this process "
                    f"({' '.join(str(error).split())}); set RAY_AUTH_MODE=token, and "
                    "RAY_AUTH_TOKEN or RAY_AUTH_TOKEN_PATH to the cluster's token, use its "
                    "versions of Ray and Python, or unset RAY_ADDRESS to start a local Ray"
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
        """Let the cluster shrink again, and disconnect; a local Ray ends."""
        try:
            if self._capacity:
                self._capacity.ask_for(0)
        finally:
            ray.shutdown()

    def check_room(self, spec: SweepSpec) -> int:
        """Return how many trials the cluster holds now; 0 if none, and it may grow.

        Raises:
            ExecutorError: it does not hold one, and cannot grow.
        """
        return Capacity(spec.resources).check()

    def ask_machines(self, question: Callable[[str, Path], T]) -> list[Reply[T]]:
        """Ask every node of the cluster."""
        return ask_nodes(question)

    def send(self, work: Work, stages: Sequence[Stage], say: Say) -> None:
        """Put datasets into Ray's object store, photographs as their networks take them."""
        references = {}
        for name, images in work.images.items():
            own = [stage for stage in stages if stage.dataset == name]
            converted = convert_ahead(
                images,
                {(stage.image_size, stage.step.detector.channels) for stage in own},
                {stage.normal_class for stage in own},
                keep=lambda array: SharedArray(ray.put(array)),
                tell=say,
            )
            references[name] = ray.put(converted)
        self._datasets = SharedDatasets(references)

    def concurrent_packs(self, spec: SweepSpec, say: Say) -> int:
        """Return how many trials the cluster runs at once when it has grown as far as it may.

        A cluster that cannot run one now is asked to grow, and waited for.

        Raises:
            ExecutorError: it does not come to hold a single trial.
        """
        self._capacity = Capacity(spec.resources)
        self._capacity.wait(say)
        return self._capacity.most()

    def run(self, schedule: Schedule, work: Work, listener: Listener) -> None:
        """Run the packs of a schedule."""
        with Leases(work.objects) as leases:
            dispatcher = Dispatcher(schedule, work, leases, listener)
            capacity = self._capacity or Capacity(work.spec.resources)
            _run(schedule, dispatcher, work, self._datasets, listener, capacity)
        if not schedule.over:
            raise KeyboardInterrupt  # Tune took it for itself, and ended well


def _check_listens(address: str) -> None:
    """Check that something takes connections there; Ray would try for minutes.

    Args:
        address: as Ray takes it; nothing is known of one that is not HOST:PORT.

    Raises:
        ExecutorError: nothing does.
    """
    host, _, port = address.rpartition("/")[2].rpartition(":")
    host = host.strip("[]")  # of an IPv6 address
    if not port.isdecimal():
        return
    try:
        socket.create_connection((host, int(port)), timeout=10).close()
    except (OSError, OverflowError) as error:
        raise ExecutorError(
            f"no Ray cluster at {address} ({error}); give another --address, or none and unset "
            "RAY_ADDRESS to start a local Ray"
        ) from None


def _run(
    schedule: Schedule,
    dispatcher: Dispatcher,
    work: Work,
    datasets: SharedDatasets,
    listener: Listener,
    capacity: Capacity,
) -> None:
    """Run Ray Tune until the schedule is over."""
    here = ray.get_runtime_context().get_node_id()
    progress = ProgressActor.options(  # type: ignore[attr-defined]
        # On the node of this process: when another is lost, it is not.
        scheduling_strategy=NodeAffinitySchedulingStrategy(here, soft=False)
    ).remote()
    trials = RunningTrials(
        listener, dispatcher, progress, reuse_trials=work.spec.resources.reuse_trials
    )
    context = TrialContext(
        stages=SharedStages(
            ray.put({stage.key: stage for pack in schedule.packs for stage in pack.stages})
        ),
        run_context=replace(
            work.context(),
            images=datasets,
            read_pretrained=SharedWeights(ray.put(work.pretrained)) if work.pretrained else None,
        ),
        resources=work.spec.resources,
        progress=progress,
    )
    ticker = _Ticker(trials, schedule, capacity)
    # Ray Tune's own record of this run is of no use to the next: what is finished is in the
    # store, and what is not has checkpoints by stage.
    with tempfile.TemporaryDirectory(prefix="kd-tune-") as scratch:
        os.environ.setdefault("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "1")
        os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")
        tuner = tune.Tuner(
            tune.with_resources(
                tune.with_parameters(trial, context=context),
                tune.PlacementGroupFactory([TRIAL_RESOURCES]),
            ),
            tune_config=tune.TuneConfig(
                search_alg=PackSearcher(dispatcher, trials),
                num_samples=-1,
                reuse_actors=True,
            ),
            run_config=tune.RunConfig(
                name="tune", storage_path=scratch, callbacks=[ticker], verbose=0
            ),
        )
        # It would warn of every trial that reported no metric; ours go to the progress actor.
        logging.getLogger("ray.tune").setLevel(logging.ERROR)
        tuner.fit()


class _Ticker(tune.Callback):
    """Passes events on while Tune runs, and follows the cluster."""

    def __init__(self, trials: RunningTrials, schedule: Schedule, capacity: Capacity) -> None:
        self._trials, self._schedule, self._capacity = trials, schedule, capacity
        self._looked = 0.0
        self._follow_cluster()

    def __getstate__(self) -> dict[str, Any]:
        return {}  # Tune pickles its callbacks now and then, and would restore nothing from them

    def on_step_end(self, iteration: int, trials: list[Trial], **info: Any) -> None:
        self._trials.refresh()
        if time.monotonic() - self._looked > _CLUSTER_LOOKED_AT_EVERY:
            self._follow_cluster()

    def _follow_cluster(self) -> None:
        """Use nodes that have joined, do without those that have left, and ask for more."""
        self._looked = time.monotonic()
        # One at least: what is left is tried, and waits for room.
        self._schedule.concurrent = max(1, self._capacity.now())
        self._capacity.ask_for(self._schedule.ready)
