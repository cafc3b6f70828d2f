"""The registry: chosen students are registered with exported models, and downloaded again."""

import base64
import contextlib
import io
import math
import re
import shutil
import tempfile
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from importlib import metadata
from pathlib import Path, PurePosixPath
from types import MappingProxyType

import mlflow
import pandas as pd
from mlflow import MlflowClient
from mlflow.entities import LoggedModelStatus, Run
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException
from PIL import Image

import kd_score
from kd_models.package import TEACHER, OverSeeds, Package, PackageConfig
from kd_models.values import nearest
from kd_score.detector import CONFIG, MODEL, SUMS, check_file, write_sums
from kd_score.errors import PackageError
from orchestrator.errors import UserError
from orchestrator.planning.keys import sha256
from orchestrator.tracking.client import PACKAGE, check_artifacts, lock_of, teacher_artifact

CHAMPION = "champion"
STUDENT = "student"
"""name of the MLflow model of a run"""

_COUNTS = ("params", "flops", "size_bytes", "student_params", "student_flops")
_METRICS = (
    *("auroc", "val_auroc", "test_auroc", "gmean", "fpr", "fnr", "threshold"),
    *("latency_us", "latency_us_p95", "student_latency_us"),
)
_SUMS_TAG = "sha256sums"
"""of a version: the SHA-256 of its package's SHA256SUMS"""


class RegistryError(UserError):
    """There is nothing to choose from, or no such registered student."""


def registered_name(sweep: str, dataset: str, normal_class: str) -> str:
    """Return the name in the registry of the student chosen for a dataset and normal class.

    It differs from that of every other sweep, dataset and class.
    """
    kind, colon, path = dataset.partition(":")
    # Two folders may end in the same name, so a hash of the whole path follows.
    name = _hashed(PurePosixPath(path).name, dataset) if colon else _name_part(kind)
    return f"{sweep}.{name}.{_name_part(normal_class)}"


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


@dataclass(frozen=True)
class Registered:
    """A version in the registry.

    Attributes:
        version: the version.
        changes: what had to be done for it to be the champion, in words; empty if it was already.
    """

    version: ModelVersion
    changes: tuple[str, ...]


def register(
    client: MlflowClient,
    name: str,
    run: Run,
    export: Callable[[Package, Path], Package],
    about: Mapping[str, str] = MappingProxyType({}),
) -> Registered:
    """Register a student and make it the champion; what is so already is left as it is.

    Args:
        client: of MLflow.
        name: of the registered model.
        run: the student's.
        export: writes its package with exported models into a folder; called where the run has no
            exported models yet.
        about: further tags of the version.
    """
    mlflow.set_tracking_uri(client.tracking_uri)  # what follows asks only for run or model ids
    changes = []
    with lock_of(str(client.tracking_uri)):
        if _config(run.info.run_id).exports is None:
            _export(client, run, export)
            changes.append("exported")
        tags = {**_version_tags(run), **about}
        version = _registered(client, name, tags["stage_key"])
        if version is None:
            model_id = _logged_model(client, run.info.run_id) or _log_model(client, run)
            version = mlflow.register_model(f"models:/{model_id}", name, tags=tags)
            changes.append(f"version {version.version}")
        else:
            if version.tags.get(_SUMS_TAG) != tags[_SUMS_TAG]:
                raise RegistryError(
                    f"the files of {name}/{version.version} were changed since it was registered; "
                    "restore them from a copy, or delete the version to register what is there"
                )
            other = {key: text for key, text in tags.items() if version.tags.get(key) != text}
            for key, text in other.items():
                client.set_model_version_tag(name, version.version, key, text)
            if other:
                version = client.get_model_version(name, version.version)
                changes.append(f"tags {', '.join(sorted(other))}")
        if version.description != (text := _description(name, tags)):
            client.update_model_version(name, version.version, text)
            changes.append("description")
        champion = client.get_registered_model(name).aliases.get(CHAMPION)
        if champion is None or str(champion) != str(version.version):
            client.set_registered_model_alias(name, CHAMPION, version.version)
            changes.append(f"alias {CHAMPION}")
    return Registered(version, tuple(changes))


def fetch(client: MlflowClient, model: str, destination: Path) -> Package:
    """Download the package of ``NAME``, ``NAME@alias`` or ``NAME/version`` into a folder.

    Without alias or version, the champion's package is downloaded.

    Raises:
        RegistryError: no such model, alias or version, or the folder is not empty.
    """
    if destination.exists() and (not destination.is_dir() or any(destination.iterdir())):
        raise RegistryError(f"{destination} is there already; give a new or empty folder")
    found = _resolve(client, model)
    run_id = found.tags["run_id"]
    check_artifacts(client, client.get_experiment(client.get_run(run_id).info.experiment_id))
    place = destination.resolve()
    place.parent.mkdir(parents=True, exist_ok=True)
    # Downloaded beside its place and then moved, so that it is there whole or not at all.
    with tempfile.TemporaryDirectory(dir=place.parent, prefix=".download-") as folder:
        package = _downloaded(client, run_id, Path(folder))
        sums = (Path(folder) / PACKAGE / SUMS).read_text(encoding="utf-8")
        if sha256(sums) != found.tags.get(_SUMS_TAG):
            raise PackageError(
                f"{SUMS} of {model} was changed since it was registered, so its files cannot be "
                "trusted; kd choose --register registers what is there now"
            )
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
    if not (package / CONFIG).is_file():
        raise PackageError(f"the package of run {run_id} is not whole: {CONFIG} is missing")
    check_file(package, CONFIG)
    config = PackageConfig.model_validate_json((package / CONFIG).read_bytes())
    if teacher_sha256 := config.detector.pretrained_sha256:
        sweep_run = client.get_run(run_id).data.tags["mlflow.parentRunId"]
        get(sweep_run, teacher_artifact(teacher_sha256)).replace(package / TEACHER)
    return Package.load(package)


def _export(client: MlflowClient, run: Run, export: Callable[[Package, Path], Package]) -> None:
    """Log a student's package again, with exported models."""
    with tempfile.TemporaryDirectory() as folder:
        package = _downloaded(client, run.info.run_id, Path(folder))
        config = package.config.model_copy(update={"over_seeds": _over_seeds(run)})
        place = Path(folder) / "exported"
        export(replace(package, config=config), place)
        (place / TEACHER).unlink(missing_ok=True)  # it lies with the sweep's own run, once
        client.log_artifacts(run.info.run_id, str(place), PACKAGE)


def _over_seeds(run: Run) -> OverSeeds:
    """Return what a student's configuration came to over its seeds."""
    metrics = run.data.metrics
    # MLflow removes no metric: a spread that is no more is not a number.
    spreads = {
        name: None if math.isnan(spread := metrics.get(f"{name}_spread", math.nan)) else spread
        for name in ("auroc", "test_auroc")
    }
    return OverSeeds(
        seeds=int(metrics.get("seeds", 1)),
        auroc_mean=metrics.get("auroc_mean", metrics["auroc"]),
        auroc_spread=spreads["auroc"],
        test_auroc_mean=metrics.get("test_auroc_mean", metrics["test_auroc"]),
        test_auroc_spread=spreads["test_auroc"],
    )


def _logged_model(client: MlflowClient, run_id: str) -> str | None:
    """Return the id of the MLflow model that a run has, if it is whole."""
    outputs = client.get_run(run_id).outputs
    for output in outputs.model_outputs if outputs else ():
        if client.get_logged_model(output.model_id).status == LoggedModelStatus.READY:
            return str(output.model_id)
    return None


def _log_model(client: MlflowClient, run: Run) -> str:
    """Log a student's MLflow model to its run, and return the model's id."""
    # Recorded, and so not shown: MLflow's, about itself; a filter of ours would be overridden.
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings(record=True):
        warnings.simplefilter("ignore")
        from mlflow.models import ModelSignature
        from mlflow.pyfunc import log_model
        from mlflow.types import ColSpec, Schema

        package = mlflow.artifacts.download_artifacts(
            run_id=run.info.run_id, artifact_path=PACKAGE, dst_path=folder
        )
        served, code = Path(folder) / "served", Path(folder) / kd_score.__name__
        served.mkdir()
        for name in (CONFIG, MODEL):
            check_file(Path(package), name)
            shutil.copy(Path(package) / name, served / name)
        write_sums(served, [CONFIG, MODEL])
        code.mkdir()
        for module in Path(kd_score.__file__).parent.glob("*.py"):
            shutil.copy(module, code)
        answer = Schema([ColSpec("double", "score"), ColSpec("string", "verdict")])
        # Only an active run puts a model into its own experiment.
        with _active(client, run):
            info = log_model(
                name=STUDENT,
                python_model=str(Path(__file__).with_name("serving.py")),
                artifacts={"package": str(served)},
                code_paths=[str(code)],
                signature=ModelSignature(outputs=answer),
                input_example=_example(),
                pip_requirements=[
                    f"{name}=={metadata.version(name)}"
                    for name in ("mlflow", "numpy", "onnxruntime", "pandas", "pillow")
                ],
            )
    return str(info.model_id)


def _description(name: str, tags: Mapping[str, str]) -> str:
    """Return what a version's page says."""
    why = f" Chosen because it is {tags['reason']}." if "reason" in tags else ""
    return (
        f"{tags['student']} ({tags['method']}), seed {tags['seed']}: a novelty detector of "
        f"{tags['dataset']}, normal class {tags['normal_class']}.{why}\n\n"
        f"`kd download {name} FOLDER` fetches it as ONNX, int8, safetensors and a model card; "
        f"`kd-score FOLDER IMAGES` scores images without PyTorch. `mlflow models serve -m "
        f'"models:/{name}@{CHAMPION}"` answers requests: a column `image` of files as base64, or '
        "an array of pixels (N, H, W) or (N, H, W, 3).\n"
    )


@contextlib.contextmanager
def _active(client: MlflowClient, run: Run) -> Iterator[None]:
    """Make a finished run the active one; it ended when it did, whatever happens."""
    try:
        with mlflow.start_run(run_id=run.info.run_id):
            yield
    finally:
        client.set_terminated(run.info.run_id, "FINISHED", end_time=run.info.end_time)


def _example() -> pd.DataFrame:
    """Return a request: one small grey image, encoded."""
    content = io.BytesIO()
    Image.new("L", (8, 8), 128).save(content, "PNG")
    return pd.DataFrame({"image": [base64.b64encode(content.getvalue()).decode()]})


def _config(run_id: str) -> PackageConfig:
    config = mlflow.artifacts.load_text(f"runs:/{run_id}/{PACKAGE}/{CONFIG}")
    return PackageConfig.model_validate_json(config)


def _version_tags(run: Run) -> dict[str, str]:
    run_id = run.info.run_id
    package = _config(run_id)
    sums = mlflow.artifacts.load_text(f"runs:/{run_id}/{PACKAGE}/{SUMS}")
    tags = {name: repr(run.data.metrics[name]) for name in _METRICS}
    tags |= {name: str(int(run.data.metrics[name])) for name in _COUNTS}
    names = ("dataset", "normal_class", "method", "student", *package.axes, "seed", "stage_key")
    tags |= {name: run.data.tags[name] for name in names}
    return tags | {
        "protocol": run.data.tags["complete"],
        "preprocessing": package.preprocessing.model_dump_json(),
        "run_id": run_id,
        _SUMS_TAG: sha256(sums),
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
            f"(there are: {', '.join(names) or 'none; kd choose --register registers them'})"
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
