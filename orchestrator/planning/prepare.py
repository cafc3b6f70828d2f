"""What a plan needs of the world: datasets and pretrained weights.

It imports neither Ray nor MLflow, so that a dry run does not wait for them.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch

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
from kd_models.methods.base import PretrainedWeights, WeightsMissing
from kd_models.methods.registry import method_of
from kd_models.training.epochs import DataTooSmall, batches_per_epoch
from kd_score.names import printable
from orchestrator.console import Say
from orchestrator.planning.bucket_data import local_name
from orchestrator.planning.plan import DatasetFacts, Plan, make_plan
from orchestrator.planning.pretrained import read_pretrained
from orchestrator.planning.spec import SpecError, SweepSpec


@dataclass(frozen=True)
class Prepared:
    """A plan with what it was made from.

    Attributes:
        plan: the plan.
        images: the datasets at hand, by the name that stages have for them.
        pretrained: the pretrained weights, where the method has any and they are at hand.
    """

    plan: Plan
    images: Mapping[str, ImageSet]
    pretrained: PretrainedWeights | None


def prepare(spec: SweepSpec, say: Say, *, download: bool) -> Prepared:
    """Plan a sweep.

    Args:
        spec: the sweep.
        say: told what a person should know of the data.
        download: whether public datasets and weights that are missing may be downloaded. If not,
            it is planned without their content: its stages then have keys of their own, and none
            is found in the store. Photographs in a bucket are copied all the same.

    Raises:
        DataError: a dataset cannot be had, or one of its normal classes cannot be trained on.
        WeightsError: the pretrained weights cannot be had.
        SpecError: the sweep file does not fit the data.
    """
    images: dict[str, ImageSet] = {}
    facts: dict[str, DatasetFacts] = {}
    for name in dict.fromkeys(spec.datasets):
        try:
            loaded = load_images(spec, name, say, download=download)
        except DatasetMissing:
            if download:
                raise
            where = spec.storage.data_path
            say(f"warning: {name} is not in {where} yet: planned without its content")
            facts[name] = DatasetFacts(dataset_row(name), f"unknown {name}")
        else:
            facts[name], images[loaded.name] = facts_of(loaded), loaded
    pretrained = sha256 = None
    if wanted := _pretrained_wanted(spec):
        method, source = wanted
        try:
            pretrained = read_pretrained(
                method_of(method),
                source,
                spec.storage.data_path,
                spec.storage.s3,
                download=download,
            )
            sha256 = pretrained.sha256
        except WeightsMissing as error:
            if download:
                raise
            say(f"warning: {error} yet: planned without the pretrained weights")
            sha256 = f"unknown {source}"
    plan = make_plan(spec, facts, sha256)
    return Prepared(plan, images, pretrained)


def _pretrained_wanted(spec: SweepSpec) -> tuple[str, str] | None:
    """Return the method that asks for pretrained weights, and where they are, if one does.

    Raises:
        SpecError: two ask for different ones.
    """
    asking = {
        (one.method, one.settings.pretrained_source)
        for one in spec.all_methods
        if one.settings.pretrained_source
    }
    # Two methods have the same weights where one function reads them from one place.
    wanted = {
        (method_of(method).read_pretrained, source): (method, source)
        for method, source in sorted(asking, reverse=True)
    }
    if len(wanted) > 1:
        asked = " and ".join(
            f"{source} (of {method})" for method, source in sorted(wanted.values())
        )
        raise SpecError(
            f"methods: pretrained weights are asked for from {asked}; a sweep can have one of "
            "them, so make two sweeps"
        )
    return next(iter(wanted.values()), None)


def facts_of(images: ImageSet) -> DatasetFacts:
    """Return what planning has to know of a loaded dataset."""
    counts = torch.bincount(images.train.labels, minlength=len(images.row.classes)).tolist()
    return DatasetFacts(
        images.row,
        images.fingerprint,
        images.class_fingerprints,
        images.depths or {},
        dict(zip(images.row.classes, counts, strict=True)),
    )


def tell_of_files(images: ImageSet, say: Say) -> None:
    """Tell what was found of a dataset's files that a person should know."""
    for skipped in images.skipped:
        say(f"warning: {images.name}: skipped unreadable image {printable(skipped)}")
    for note in images.notes:
        say(f"warning: {images.name}: {note}")


def load_images(spec: SweepSpec, name: str, say: Say, *, download: bool) -> ImageSet:
    """Load one of a sweep's datasets as its stages see it.

    Args:
        spec: the sweep.
        name: the dataset, as the sweep file has it.
        say: told what a person should know of the data.
        download: whether a public dataset that is missing may be downloaded.

    Raises:
        DataError: as :func:`prepare`.
    """
    local = local_name(name, spec.storage, say)
    row = dataset_row(local)
    every = tuple(row.classes)
    classes_of = [
        (method, [resolve_class(row, each) for each in spec.classes_of(method, name, every)])
        for method in spec.methods
    ]
    classes = tuple(dict.fromkeys(key for _, own in classes_of for key in own))
    options = LoadOptions(
        unreadable=spec.unreadable_images,
        download=download,
        classes=classes,
        max_megapixels=spec.max_megapixels,
        tell=say,
    )
    images = load(local, spec.storage.data_path, options)
    if local != name:
        images = replace(images, row=replace(images.row, name=name.rstrip("/")))
    tell_of_files(images, say)
    # What would fail in a trial because of the data fails here already, in a dry run too.
    problems = []
    for key in classes:
        try:
            count = check_learnable(images, key)
            for method, own in classes_of:
                for batch_size in method.settings.batch_sizes().values() if key in own else ():
                    batches_per_epoch(count, batch_size, spec.resources.workers)
        except DataError as error:
            problems.append(str(error))
        except DataTooSmall as error:
            problems.append(f"{images.name}, normal class {key}: {error}")
    if problems:
        others = f"; leave such classes out of normal_classes ({len(classes)} are asked for)"
        raise DataError("\n".join(problems) + (others if len(classes) > 1 else ""))
    return images
