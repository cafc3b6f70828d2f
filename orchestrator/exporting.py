"""Chosen students are exported where the data of their sweep is, which they are compared on."""

from pathlib import Path

import mlflow
import yaml
from mlflow import MlflowClient

from kd_models.data import DataError, ImageSet, one_class
from kd_models.export.packaged import export
from kd_models.package import Package
from orchestrator.console import Say
from orchestrator.planning.prepare import load_images
from orchestrator.planning.spec import SweepSpec


class Exporter:
    """Exports students of one sweep.

    Args:
        client: of MLflow.
        spec: the sweep.
        say: told what is done.
    """

    def __init__(self, client: MlflowClient, spec: SweepSpec, say: Say) -> None:
        self._client, self._spec, self._say = client, spec, say
        self._images: dict[str, ImageSet] = {}

    def __call__(self, package: Package, folder: Path) -> Package:
        """Write a student's package with exported models into a folder.

        Raises:
            DataError: its dataset is not what it was trained on.
            ExportError: as :func:`kd_models.export.packaged.export`.
        """
        config = package.config
        name = config.dataset
        if name not in self._images:
            self._images[name] = load_images(self._spec, name, self._say, download=True)
        images = self._images[name]
        wanted = config.preprocessing
        data = one_class(
            images,
            config.normal_class,
            image_size=wanted.image_size,
            channels=wanted.channels,
        )
        if data.fingerprint != config.fingerprint:
            raise DataError(
                f"{name} in {self._spec.storage.data_path} is not what the student of class "
                f"{config.normal_class} was trained on: its images or classes were changed; put "
                "back those, or run the sweep again"
            )
        self._say(
            f"exporting {name} {config.normal_class}: {len(data.test):,} images to compare on"
        )
        return export(package, data, folder)


def spec_of(client: MlflowClient, experiment_id: str) -> SweepSpec:
    """Return the settings that a sweep was last run with, as MLflow has them."""
    (run,) = client.search_runs([experiment_id], "tags.role = 'sweep'", max_results=1)
    written = mlflow.artifacts.load_text(f"runs:/{run.info.run_id}/sweep.yaml")
    return SweepSpec.model_validate(yaml.safe_load(written))
