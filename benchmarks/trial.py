"""(e) What one more trial costs, end to end, where nothing is trained and where next to nothing is.

Bare: a Ray Tune trial that runs a Ray Train worker which returns at once. Ours: a sweep of as many
students as there are trials, of unlike widths so that each has one, trained for one epoch of two
steps, with its store, its MLflow runs and its table. Both with one worker and one trial at a time.
The cost of one more is the difference between five trials and one, by four: what a sweep costs
once is not in it.
"""

import logging
import os
import tempfile
import time
from functools import partial

from benchmarks.harness import by_turns, emit, run_sweep

FEW, MANY = 1, 5


def bare(trials: int) -> float:
    """Return the seconds of trials that train nothing."""
    from orchestrator.executors.ray_tune import environment

    environment.prepare()
    import ray
    from ray import cloudpickle, tune

    from benchmarks import trial

    # The process that measures is no module that a worker could import.
    cloudpickle.register_pickle_by_value(trial)
    os.environ["RAY_AIR_NEW_OUTPUT"] = "0"
    began = time.perf_counter()
    ray.init(
        address="local",
        include_dashboard=False,
        log_to_driver=False,
        logging_level=logging.ERROR,
    )
    with tempfile.TemporaryDirectory() as folder:
        tune.Tuner(
            tune.with_resources(trial._bare_trial, tune.PlacementGroupFactory([{"memory": 500e6}])),
            param_space={"folder": folder, "trial": tune.grid_search(list(range(trials)))},
            tune_config=tune.TuneConfig(reuse_actors=True, max_concurrent_trials=1),
            run_config=tune.RunConfig(storage_path=folder, verbose=0),
        ).fit()
    ray.shutdown()
    return time.perf_counter() - began


def _bare_trial(config: dict[str, object]) -> dict[str, int]:
    import ray.train
    from ray.train.torch import TorchTrainer

    TorchTrainer(
        _nothing,
        train_loop_config={},
        scaling_config=ray.train.ScalingConfig(num_workers=1, resources_per_worker={"CPU": 2}),
        run_config=ray.train.RunConfig(
            name=f"bare-{config['trial']}", storage_path=str(config["folder"])
        ),
    ).fit()
    return {"done": 1}


def _nothing(config: dict[str, object]) -> None:
    from ray.train.torch import get_device

    get_device()


def ours(trials: int) -> float:
    """Return the seconds of a sweep's trials that train next to nothing."""
    spec = {
        "name": "overhead",
        "datasets": ["digits"],
        "normal_classes": [0],
        "structures": ["alone"],
        "student_widths": [[1, 2, width] for width in range(1, trials + 1)],
        "training": {"epochs": 1, "batch_size": 64},
        "resources": {"workers": 1, "cpus_per_worker": 2},
    }
    taken, answer = run_sweep(spec)
    assert answer["trained"] == trials
    return taken


def main() -> None:
    """Compare few trials with many."""
    sides = {
        f"{name}_{trials}": partial(side, trials)
        for trials in (FEW, MANY)
        for name, side in (("bare", bare), ("ours", ours))
    }
    found = by_turns(sides)
    more = {
        name: (found[f"{name}_{MANY}"].value - found[f"{name}_{FEW}"].value) / (MANY - FEW)
        for name in ("bare", "ours")
    }
    emit(
        "trial overhead",
        "s",
        found,
        one_more={name: round(seconds, 2) for name, seconds in more.items()},
        ratio=round(more["ours"] / more["bare"], 3),
    )


if __name__ == "__main__":
    main()
