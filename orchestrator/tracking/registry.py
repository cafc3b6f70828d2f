"""The registry: students are chosen by what was measured, registered, and downloaded again."""

import re
import tempfile
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath

import mlflow
from mlflow import MlflowClient
from mlflow.entities import Run
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException

from kd_models.package import TEACHER, Package, PackageConfig
from kd_models.values import nearest
from kd_score.detector import CONFIG
from orchestrator.errors import UserError
from orchestrator.planning.keys import sha256
from orchestrator.tracking.client import PACKAGE, check_artifacts, lock_of, teacher_artifact

CHAMPION = "champion"
MODEL = "student"

_METRICS = (
    "auroc",
    "val_auroc",
    "test_auroc",
    "gmean",
    "fpr",
    "fnr",
    "threshold",
    "latency_ms",
    "student_latency_ms",
)
_COUNTS = ("params", "flops", "student_params", "student_flops")


class RegistryError(UserError):
    """There is nothing to choose from, or no such registered student."""


@dataclass(frozen=True)
class Limits:
    """What a chosen student may cost at most; None is no limit."""

    params: int | None = None
    flops: int | None = None
    latency_ms: float | None = None

    def allow(self, run: Run) -> bool:
        """Return whether all that must be deployed, a teacher too, is within the limits."""
        return all(
            limit is None or run.data.metrics[name] <= limit for name, limit in asdict(self).items()
        )


@dataclass(frozen=True)
class Choice:
    """The student chosen for a dataset and normal class, or why there is none."""

    dataset: str
    normal_class: str
    run: Run | None
    candidates: int
    """finished candidates there were to choose from, whatever their cost"""
    baselines: tuple[Run, ...] = ()
    """those that cost no more and are as good or better, by their means over seeds"""

    def registered_name(self, sweep: str) -> str:
        """Return the model's name in the registry.

        It differs from that of every other sweep, dataset and class.
        """
        kind, colon, path = self.dataset.partition(":")
        # Two folders may end in the same name, so a hash of the whole path follows.
        dataset = _hashed(PurePosixPath(path).name, self.dataset) if colon else _name_part(kind)
        return f"{sweep}.{dataset}.{_name_part(self.normal_class)}"


_LONGEST_PART = 60
_LOOKS_HASHED = re.compile(r"-[0-9a-f]{8}$")


def _name_part(name: str) -> str:
    """Return a name with letters, digits, _ and - alone; one that is changed ends in a hash.

    The registry allows no slash and no colon, a shell only these characters, and dots separate the
    parts.
    """
    hashed = _hashed(name, name)
    is_kept = hashed.startswith(f"{name}-") and not _LOOKS_HASHED.search(name)
    return name if is_kept else hashed


def _hashed(name: str, of: str) -> str:
    """Return a name with letters, digits, _ and - alone, cut, and a hash of ``of``."""
    clean = re.sub(r"[^\w-]+", "-", name)
    return f"{clean[:_LONGEST_PART]}-{sha256(of)[:8]}"


def choosing_metric(run: Run) -> float:
    """Return what students are compared by.

    Under ``holdout`` it is the AUROC of the validation half, so that the test half stays honest;
    under ``paper`` the AUROC of the whole test split, as in the papers.
    """
    name = "auroc" if run.data.tags["complete"] == "paper" else "val_auroc"
    return float(run.data.metrics[name])


def _mean_over_seeds(run: Run) -> float:
    """Return what students are compared by, as a mean over seeds where there are several."""
    name = "auroc_mean" if run.data.tags["complete"] == "paper" else "val_auroc_mean"
    return float(run.data.metrics.get(name, choosing_metric(run)))


def finished_candidates(client: MlflowClient, sweep: str) -> list[Run]:
    """Return the runs of a sweep's students that were trained and logged whole.

    Raises:
        RegistryError: no such sweep, or nothing in it is finished.
    """
    experiment = client.get_experiment_by_name(sweep)
    if experiment is None:
        names = [e.name for e in client.search_experiments()]
        raise RegistryError(
            f"there is no sweep {sweep}{nearest(sweep, names)} (there are: {', '.join(names)})"
        )
    check_artifacts(client, experiment)
    runs: list[Run] = []
    token = None
    while True:
        page = client.search_runs(
            [experiment.experiment_id],
            filter_string="tags.role = 'candidate' AND attributes.status = 'FINISHED'",
            page_token=token,
        )
        runs += [run for run in page if run.data.tags.get("complete")]
        token = page.token
        if not token:
            break
    if not runs:
        raise RegistryError(f"sweep {sweep} has no finished candidate yet")
    return runs


def choose(runs: Iterable[Run], limits: Limits, *, with_baselines: bool = False) -> list[Choice]:
    """Choose for every dataset and normal class the best student within the limits.

    Of two equally good students the one with fewer FLOPs is chosen, then with fewer parameters.
    Teachers, which students are compared with, are not chosen.

    Args:
        runs: of candidates.
        limits: what the chosen one may cost.
        with_baselines: whether a baseline may be chosen. If not, those that make the chosen
            student pointless are named in the choice.
    """
    groups: dict[tuple[str, str], list[Run]] = {}
    baselines: dict[tuple[str, str], list[Run]] = {}
    for run in runs:
        task = (run.data.tags["dataset"], run.data.tags["normal_class"])
        kind = run.data.tags["kind"]
        if kind == "student" or (with_baselines and kind == "baseline"):
            groups.setdefault(task, []).append(run)
        if kind == "baseline":
            baselines.setdefault(task, []).append(run)

    def merit(run: Run) -> tuple[float, float, float]:
        metrics = run.data.metrics
        return (choosing_metric(run), -metrics["flops"], -metrics["params"])

    choices = []
    for (dataset, normal_class), group in sorted(groups.items()):
        best = max((run for run in group if limits.allow(run)), key=merit, default=None)
        as_good = [
            baseline
            for baseline in baselines.get((dataset, normal_class), ())
            if best is not None
            and best.data.tags["kind"] == "student"
            and limits.allow(baseline)
            and _makes_pointless(baseline, best)
        ]
        choices.append(Choice(dataset, normal_class, best, len(group), tuple(as_good)))
    return choices


def _makes_pointless(baseline: Run, student: Run) -> bool:
    """Return whether a baseline costs no more than a student and is as good."""
    flops = [run.data.metrics["flops"] for run in (baseline, student)]
    return flops[0] <= flops[1] and _mean_over_seeds(baseline) >= _mean_over_seeds(student)


def register(client: MlflowClient, sweep: str, choice: Choice) -> ModelVersion:
    """Register a choice and make it the champion; a student registered before keeps its version."""
    assert choice.run is not None
    mlflow.set_tracking_uri(client.tracking_uri)  # what follows asks only for run or model ids
    run, name = choice.run, choice.registered_name(sweep)
    tags = _version_tags(client, run)
    with lock_of(str(client.tracking_uri)):
        version = _registered(client, name, tags["stage_key"])
        if version is None:
            model_id = _exported(client, run.info.run_id)
            version = mlflow.register_model(f"models:/{model_id}", name, tags=tags)
        else:
            for key, value in tags.items():
                client.set_model_version_tag(name, version.version, key, value)
        client.set_registered_model_alias(name, CHAMPION, version.version)
    return version


def fetch(client: MlflowClient, model: str, destination: Path) -> Package:
    """Download the package of ``NAME``, ``NAME@alias`` or ``NAME/version`` into a folder.

    Without alias or version, the champion's package is downloaded.

    Raises:
        RegistryError: no such model, alias or version, or the folder is not empty.
    """
    if destination.exists() and (not destination.is_dir() or any(destination.iterdir())):
        raise RegistryError(f"{destination} is there already; give a new or empty folder")
    version = _resolve(client, model)
    run_id = version.tags["run_id"]
    check_artifacts(client, client.get_experiment(client.get_run(run_id).info.experiment_id))
    place = destination.resolve()
    place.parent.mkdir(parents=True, exist_ok=True)
    # Downloaded beside its place and then moved, so that it is there whole or not at all.
    with tempfile.TemporaryDirectory(dir=place.parent, prefix=".download-") as folder:
        package = _downloaded(client, run_id, Path(folder))
        (Path(folder) / PACKAGE).replace(place)
    return package


def _downloaded(client: MlflowClient, run_id: str, folder: Path) -> Package:
    """Download a student's package into ``folder``, with its pretrained teacher if it has one."""

    def get(run: str, path: str) -> Path:
        return Path(
            mlflow.artifacts.download_artifacts(
                run_id=run, artifact_path=path, dst_path=str(folder)
            )
        )

    package = get(run_id, PACKAGE)
    config = PackageConfig.model_validate_json((package / CONFIG).read_bytes())
    if teacher_sha256 := config.detector.pretrained_sha256:
        sweep_run = client.get_run(run_id).data.tags["mlflow.parentRunId"]
        get(sweep_run, teacher_artifact(teacher_sha256)).replace(package / TEACHER)
    return Package.load(package)


def _exported(client: MlflowClient, run_id: str) -> str:
    """Return the id of a student's MLflow model; log it to the run if it is not there yet."""
    outputs = client.get_run(run_id).outputs
    if outputs and outputs.model_outputs:
        return str(outputs.model_outputs[0].model_id)
    with tempfile.TemporaryDirectory() as folder:
        return _export(_downloaded(client, run_id, Path(folder)), run_id)


def _export(package: Package, run_id: str) -> str:
    import numpy as np
    from mlflow.models import infer_signature
    from mlflow.pytorch import log_model

    wanted = package.config.preprocessing
    example = np.zeros((2, wanted.channels, wanted.image_size, wanted.image_size), np.float32)
    # Only an active run puts a model into its own experiment.
    with mlflow.start_run(run_id=run_id):
        info = log_model(
            package.scorer(),
            name=MODEL,
            input_example=example,
            signature=infer_signature(example, np.zeros(2, dtype=np.float32)),
            serialization_format="pt2",  # an exported graph: nothing in it is pickled
            pip_requirements=["torch"],
        )
    return str(info.model_id)


def _version_tags(client: MlflowClient, run: Run) -> dict[str, str]:
    config = mlflow.artifacts.load_text(f"runs:/{run.info.run_id}/{PACKAGE}/{CONFIG}")
    package = PackageConfig.model_validate_json(config)
    tags = {name: repr(run.data.metrics[name]) for name in _METRICS}
    tags |= {name: str(int(run.data.metrics[name])) for name in _COUNTS}
    names = ("dataset", "normal_class", "method", "student", *package.axes, "seed", "stage_key")
    tags |= {name: run.data.tags[name] for name in names}
    return tags | {
        "protocol": run.data.tags["complete"],
        "preprocessing": package.preprocessing.model_dump_json(),
        "run_id": run.info.run_id,
    }


def _registered(client: MlflowClient, name: str, stage_key: str) -> ModelVersion | None:
    for version in client.search_model_versions(f"name = '{name}'"):
        if version.tags.get("stage_key") == stage_key:
            return version
    return None


def _resolve(client: MlflowClient, model: str) -> ModelVersion:
    name, slash, number = model.partition("/")
    name, at, alias = name.partition("@")
    if (slash and not number) or (at and not alias) or (slash and at):
        raise RegistryError(f"{model}: expected NAME, NAME@alias or NAME/version")
    try:
        client.get_registered_model(name)
    except MlflowException:
        names = [m.name for m in client.search_registered_models()]
        raise RegistryError(
            f"no student is registered as {name}{nearest(name, names)} "
            f"(there are: {', '.join(names) or 'none; kd choose registers them'})"
        ) from None
    try:
        if slash:
            return client.get_model_version(name, number)
        return client.get_model_version_by_alias(name, alias or CHAMPION)
    except MlflowException:
        versions = client.search_model_versions(f"name = '{name}'")
        aliases = client.get_registered_model(name).aliases  # versions found by search have none
        known = ", ".join(
            f"{name}/{v.version}"
            + "".join(f" (@{a})" for a, number in aliases.items() if number == v.version)
            for v in versions
        )
        raise RegistryError(f"there is no {model}; there are {known}") from None
