"""What planning needs of the world: datasets, a pretrained teacher, what the store has.

Apart from sweep.py, so that to plan a sweep is not to wait for Ray and MLflow to be imported.
"""

from collections.abc import Mapping

from kd_models.data import (
    DataError,
    DatasetMissing,
    ImageSet,
    LoadOptions,
    check_learnable,
    dataset_row,
    load,
    resolve_class,
)
from kd_models.fit import DataTooSmall, batches_per_epoch
from kd_models.names import printable
from kd_models.networks.vgg_weights import IMAGENET, TeacherWeights, WeightsError
from orchestrator.plan import DatasetFacts, Plan, make_plan
from orchestrator.pretrained import read_pretrained
from orchestrator.progress import Say
from orchestrator.record import holds
from orchestrator.spec import SweepSpec
from orchestrator.store import CorruptStage, Store


def load_datasets(spec: SweepSpec, say: Say) -> dict[str, ImageSet]:
    """Load every dataset of the spec, downloading what is missing.

    Raises:
        DataError: a dataset cannot be had, or one of its normal classes cannot be trained on.
    """
    return {name: _load(spec, name, say, download=True) for name in dict.fromkeys(spec.datasets)}


def tell_of_files(images: ImageSet, say: Say) -> None:
    """Tell what was found of a dataset's files that a person should know."""
    for skipped in images.skipped:
        say(f"warning: {images.name}: skipped unreadable image {printable(skipped)}")
    for note in images.notes:
        say(f"warning: {images.name}: {note}")


def facts_of(images: Mapping[str, ImageSet]) -> dict[str, DatasetFacts]:
    """Return what planning has to know of loaded datasets."""
    return {
        name: DatasetFacts(
            loaded.row, loaded.fingerprint, loaded.class_fingerprints, loaded.depths or {}
        )
        for name, loaded in images.items()
    }


def _load(spec: SweepSpec, name: str, say: Say, *, download: bool) -> ImageSet:
    row = dataset_row(name)
    wanted = spec.classes_of(name, tuple(row.classes))
    classes = tuple(dict.fromkeys(resolve_class(row, value) for value in wanted))
    options = LoadOptions(
        unreadable=spec.unreadable_images,
        download=download,
        classes=classes,
        max_megapixels=spec.max_megapixels,
    )
    images = load(name, spec.storage.data_path, options)
    tell_of_files(images, say)
    # Whatever would fail in a trial for the data's sake fails here, in a dry run too.
    problems = []
    for key in classes:
        try:
            count = check_learnable(images, key)
            for batch_size in spec.batch_sizes().values():
                batches_per_epoch(count, batch_size, spec.resources.workers)
        except DataError as error:
            problems.append(str(error))
        except DataTooSmall as error:
            problems.append(f"{images.name}, normal class {key}: {error}")
    if problems:
        others = f"; leave such classes out of normal_classes ({len(classes)} are asked for)"
        raise DataError("\n".join(problems) + (others if len(classes) > 1 else ""))
    return images


def facts_without_download(spec: SweepSpec, say: Say) -> dict[str, DatasetFacts]:
    """Return what planning can know of datasets when nothing may be downloaded.

    Of a dataset that is not on this machine that is its row alone: its stages then have keys
    of their own, and none is found in the store.
    """
    facts: dict[str, DatasetFacts] = {}
    for name in dict.fromkeys(spec.datasets):
        try:
            images = _load(spec, name, say, download=False)
        except DatasetMissing:
            say(f"{name} is not in {spec.storage.data_path} yet: planned without its content")
            facts[name] = DatasetFacts(dataset_row(name), f"unknown {name}")
        else:
            facts |= facts_of({name: images})
    return facts


def load_pretrained(spec: SweepSpec) -> TeacherWeights | None:
    """Return the pretrained teacher's weights, downloaded if need be; None for none.

    Raises:
        WeightsError: they cannot be had.
    """
    return read_pretrained(spec.pretrained, spec.storage.data_path) if spec.pretrained else None


def plan_without_download(spec: SweepSpec, say: Say) -> Plan:
    """Plan a sweep when nothing may be downloaded; see :func:`facts_without_download`."""
    pretrained = ""
    if spec.pretrained:
        try:
            weights = read_pretrained(spec.pretrained, spec.storage.data_path, download=False)
            pretrained = weights.sha256
        except WeightsError as error:
            if spec.pretrained != IMAGENET and "://" not in spec.pretrained:
                raise
            say(f"{error} yet: planned without the teacher's weights")
            pretrained = f"unknown {spec.pretrained}"
    return make_plan(spec, facts_without_download(spec, say), pretrained)


def finished_stages(plan: Plan, store: Store, say: Say) -> frozenset[str]:
    """Return the keys of the plan's stages that the store holds undamaged."""
    finished = set()
    for key, stage in plan.stages.items():
        try:
            if holds(store, stage):
                finished.add(key)
        except CorruptStage as error:
            say(f"warning: {stage.title} will be trained again: {error}")
    return frozenset(finished)
