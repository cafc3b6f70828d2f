"""Score images with a downloaded student."""

from collections.abc import Sequence
from pathlib import Path, PurePath
from typing import Annotated

import numpy as np
import torch
import typer
from numpy.typing import NDArray
from rich.console import Console
from torch import Tensor

from kd_models.data import (
    DataError,
    ImageFiles,
    LoadOptions,
    UnreadableImage,
    as_tensor,
    deep_images,
    load,
    one_class,
    to_model_input,
)
from kd_models.evaluation.localisation import heat_maps, localisation_metrics
from kd_models.evaluation.metrics import auroc, rates
from kd_models.package import Package
from kd_score.image_paths import image_paths
from kd_score.names import printable, shortened, shown
from kd_score.read_image import FULL_DEPTH, MAX_MEGAPIXELS, highest, read_raw
from orchestrator.cli.answers import Answer, DebugFlag, JsonFlag, respond
from orchestrator.console import Say
from orchestrator.planning.bucket_data import local_name
from orchestrator.planning.prepare import tell_of_files
from orchestrator.planning.storage import StorageSpec
from orchestrator.planning.sweep_file import default_storage

_LONGEST_FILE_NAME = 60
"""characters: file systems take 255 bytes"""
SMALLEST_PICTURE = 256
"""pixels a side of a heat map's picture"""


def score(
    package: Annotated[Path, typer.Argument(help="Folder made by kd download.")],
    images: Annotated[
        str,
        typer.Argument(
            help="An image, a folder of images, or a dataset (digits, fmnist, folder:PATH, "
            "mvtec:PATH, ...)."
        ),
    ],
    data: Annotated[
        Path | None, typer.Option(help="Where datasets lie; default below $KD_HOME.")
    ] = None,
    unreadable: Annotated[
        str, typer.Option(help="What to do with an image that cannot be read: stop or skip.")
    ] = "stop",
    max_megapixels: Annotated[
        float, typer.Option(min=0, help="Larger images cannot be read: they may fill the memory.")
    ] = MAX_MEGAPIXELS,
    heatmaps: Annotated[
        Path | None,
        typer.Option(help="Draw where each image is novel, as a picture below this folder."),
    ] = None,
    as_json: JsonFlag = False,
    debug: DebugFlag = False,
) -> None:
    """Score images and call each normal or novel.

    A score at or above the student's threshold is novel. Of a dataset it is the test split that
    is scored, with the student's own normal class, and the AUROC is printed with it; where its
    images have masks, --heatmaps adds how well the novel pixels are found (pixel AUROC and PRO).
    The colours of a heat map go from zero to its highest value, but at least to twice the highest
    value of the images called normal, so that these stay cold.
    """

    def work(log: Console, say: Say) -> Answer:
        if unreadable not in ("stop", "skip"):
            raise DataError(f"--unreadable {unreadable}: expected stop or skip")
        if heatmaps is not None and heatmaps.exists() and not heatmaps.is_dir():
            raise DataError(f"--heatmaps {heatmaps}: is a file; expected a folder to draw into")
        student = Package.load(package)
        reading = LoadOptions(
            unreadable="skip" if unreadable == "skip" else "stop",
            classes=(student.config.normal_class,),
            depth=student.config.preprocessing.depth or FULL_DEPTH,
            max_megapixels=max_megapixels,
        )
        if Path(images).exists():
            return _score_files(student, Path(images), reading, heatmaps, say)
        where = data and str(data)
        storage = StorageSpec(root=where, data=where) if where else default_storage()
        name = local_name(images, storage, say)
        return _score_dataset(student, name, storage.data_path, reading, heatmaps, say)

    respond(work, as_json, debug)


def _score_files(
    student: Package, path: Path, reading: LoadOptions, heatmaps: Path | None, say: Say
) -> Answer:
    files = sorted(image_paths(path)) if path.is_dir() else [path]
    if not files:
        raise DataError(f"there is no image in {shown(path)}")
    prepared = student.config.preprocessing
    readable, inputs, above, unseen = [], [], [], []
    for file in files:
        try:
            raw = read_raw(file, max_megapixels=reading.max_megapixels)
        except UnreadableImage as error:
            if reading.unreadable == "stop":
                raise
            say(f"warning: skipped: {error}")
            continue
        if raw.deep and prepared.depth is None:
            unseen.append(str(file))
        elif raw.deep and raw.levels.high > highest(prepared.depth):
            above.append(str(file))
        readable.append(str(file))
        # One at a time: photographs are large, and what the networks take of them is small.
        image = as_tensor(raw.in_8_bits(prepared.depth))
        inputs.append(
            to_model_input([image], image_size=prepared.image_size, channels=prepared.channels)
        )
    if not readable:
        raise DataError(f"none of the {len(files)} images in {shown(path)} can be read")
    if above:
        say(
            f"warning: {len(above)} images have values above {highest(prepared.depth)}, the most "
            f"that the {prepared.depth} bits the student was trained with hold, and are white "
            f"there; the first is {printable(above[0])}"
        )
    _tell_of_unseen(unseen, say)
    x = torch.cat(inputs)
    rows = _rows(student, readable, student.score(x))
    if heatmaps is not None:
        root = path if path.is_dir() else path.parent
        names = [str(Path(file).relative_to(root)) for file in readable]
        _draw(student, x, names, rows, heatmaps)
    return Answer({**_summary(student, rows), "images": rows}, _lines(student, rows))


def _score_dataset(
    student: Package,
    name: str,
    root: Path,
    reading: LoadOptions,
    heatmaps: Path | None,
    say: Say,
) -> Answer:
    images = load(name, root, reading)
    tell_of_files(images, say)
    prepared = student.config.preprocessing
    if prepared.depth is None and isinstance(images.test.images, ImageFiles):
        _tell_of_unseen([file.name for file, _ in deep_images(images.test.images.files)], say)
    task = one_class(
        images,
        student.config.normal_class,
        image_size=prepared.image_size,
        channels=prepared.channels,
    )
    scores = student.score(task.test)
    names = task.names or [str(index) for index in range(len(scores))]
    rows = _rows(student, names, scores)
    values, novel = scores.double().numpy(), task.novel.numpy()
    found = rates(values, novel, student.config.threshold)
    quality = {
        "auroc": auroc(values, novel),
        "gmean": found.gmean,
        "fpr": found.fpr,
        "fnr": found.fnr,
    }
    if heatmaps is not None:
        maps = _draw(student, task.test, names, rows, heatmaps)
        if task.masks is not None and task.masked is not None:
            known = task.masked.numpy()
            quality |= localisation_metrics(maps[known], task.masks[known])
    text = ", ".join(f"{metric} {value:.6f}" for metric, value in quality.items())
    return Answer(
        {**_summary(student, rows), **quality, "images": rows},
        f"{_lines(student, rows)}\n{images.name}, the whole test split: {text}",
    )


def _tell_of_unseen(names: Sequence[str], say: Say) -> None:
    if names:
        say(
            f"warning: {len(names)} images have 16 bits a sample, and no image that the student "
            f"was trained with: 0 to {highest(None)} is read as black to white; the first is "
            f"{printable(names[0])}"
        )


def _draw(
    student: Package, x: Tensor, names: Sequence[str], rows: list[dict], folder: Path
) -> NDArray[np.float32]:
    """Draw the heat maps of scored images (N, C, S, S), and return them (N, S, S)."""
    from PIL import Image

    from orchestrator.reporting.figures import (  # matplotlib: a second to import
        heat_scales,
        overlay,
    )

    maps: NDArray[np.float32] = heat_maps(student.scorer(), x).numpy()
    ends = heat_scales(list(maps), [row["verdict"] == "normal" for row in rows])
    enlarge = max(1, -(-SMALLEST_PICTURE // x.shape[-1]))
    for name, image, heat, end in zip(names, x.numpy(), maps, ends, strict=True):
        pixels = (overlay(image, heat, end) * 255).round().astype(np.uint8)
        *folders, last = PurePath(name).parts
        file = folder.joinpath(*folders, f"{shortened(last, _LONGEST_FILE_NAME)}.png")
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels.repeat(enlarge, 0).repeat(enlarge, 1)).save(file)
    return maps


def _rows(student: Package, names: list[str] | tuple[str, ...], scores: Tensor) -> list[dict]:
    return [
        {
            "image": name,
            "score": score,
            "verdict": "novel" if score >= student.config.threshold else "normal",
        }
        for name, score in zip(names, scores.tolist(), strict=True)
    ]


def _summary(student: Package, rows: list[dict]) -> dict[str, object]:
    novel = sum(row["verdict"] == "novel" for row in rows)
    return {
        "threshold": student.config.threshold,
        "novel": novel,
        "normal": len(rows) - novel,
    }


def _lines(student: Package, rows: list[dict]) -> str:
    # In the spelling that is one line; JSON has the names as they are.
    lines = [f"{row['score']:.6g}\t{row['verdict']}\t{printable(row['image'])}" for row in rows]
    summary = _summary(student, rows)
    lines.append(
        f"{summary['novel']} novel, {summary['normal']} normal "
        f"at threshold {student.config.threshold:.6g}"
    )
    return "\n".join(lines)
