"""``kd-score``: scores images with a downloaded detector, on a machine without PyTorch."""

import argparse
import csv
import io
import json
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from kd_score.detector import Detector
from kd_score.errors import DataError, PackageError, UnreadableImage
from kd_score.image_paths import image_paths
from kd_score.names import harmless, printable, shown
from kd_score.read_image import MAX_MEGAPIXELS, read_raw

FIELDS = ("image", "score", "verdict")


def main(arguments: list[str] | None = None) -> int:
    """Run the command; return its exit code."""
    given = _parser().parse_args(arguments)
    for stream in (sys.stdin, sys.stdout, sys.stderr):
        # A name need not be UTF-8, nor a terminal able to show it.
        errors = "surrogateescape" if stream is sys.stdin else "backslashreplace"
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors=errors)
    try:
        return _score(given)
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # whoever read has read enough
        sys.stderr.close()
        return 0
    except (DataError, PackageError, OSError) as error:
        print(f"error: {harmless(str(error))}", file=sys.stderr)
        return 2


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="kd-score",
        description="Score images with a detector that kd download fetched, and call each normal "
        "or novel.",
        epilog="Exit code 0: all are normal; 1: at least one is novel; 2: an error, or an image "
        "was skipped.",
    )
    parser.add_argument("detector", type=Path, help="folder made by kd download")
    parser.add_argument(
        "images",
        nargs="+",
        help="image files, folders of images, or - for a list on standard input, a name a line",
    )
    parser.add_argument("--format", choices=("csv", "jsonl"), default="csv")
    parser.add_argument("--int8", action="store_true", help="use the quantised model")
    parser.add_argument(
        "--threshold", type=float, help="call a score from here on novel, instead of the package's"
    )
    parser.add_argument("--threads", type=_positive, default=1, help="that an image may use")
    parser.add_argument(
        "--unreadable",
        choices=("stop", "skip"),
        default="stop",
        help="what to do with an image that cannot be read",
    )
    parser.add_argument(
        "--max-megapixels",
        type=float,
        default=MAX_MEGAPIXELS,
        help="larger images cannot be read: they may fill the memory (default %(default)g)",
    )
    parser.add_argument(
        "--null", action="store_true", help="names on standard input end in NUL (find -print0)"
    )
    return parser


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise ValueError(text)
    return number


def _score(given: argparse.Namespace) -> int:
    detector = Detector(given.detector, int8=given.int8, threads=given.threads)
    threshold = detector.threshold if given.threshold is None else given.threshold
    write = _writer(given.format)
    novel = skipped = scored = 0
    for path in _paths(given.images, given.null):
        try:
            image = read_raw(path, max_megapixels=given.max_megapixels)
        except UnreadableImage as error:
            if given.unreadable == "stop":
                raise
            print(f"warning: skipped: {harmless(str(error))}", file=sys.stderr)
            skipped += 1
            continue
        if warning := detector.warning(image):
            print(f"warning: {shown(path)} {warning}", file=sys.stderr)
        score = detector.score(image)
        is_novel = score >= threshold
        write(str(path), score, "novel" if is_novel else "normal")
        scored += 1
        novel += is_novel
    if not scored and not skipped:
        raise DataError("there is no image to score")
    if skipped:
        return 2
    return 1 if novel else 0


def _paths(images: Iterable[str], null: bool) -> Iterator[Path]:
    """Yield the files to score; those of a list as soon as each is named."""
    for name in images:
        if name == "-":
            yield from map(Path, _listed(null))
        elif Path(name).is_dir():
            found = sorted(image_paths(Path(name)))
            if not found:
                raise DataError(f"there is no image in {shown(Path(name))}")
            yield from found
        else:
            yield Path(name)


def _listed(null: bool) -> Iterator[str]:
    if null:
        text = sys.stdin.read()
        yield from filter(None, text.split("\0"))
        return
    for line in sys.stdin:
        if name := line.rstrip("\n"):
            yield name


def _writer(form: str) -> Callable[[str, float, str], None]:
    """Return what writes a row at once, so that whoever reads need not wait for the last image."""
    if form == "jsonl":

        def as_json(*row: Any) -> None:
            print(json.dumps(dict(zip(FIELDS, row, strict=True))), flush=True)

        return as_json
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(FIELDS)

    def as_csv(image: str, score: float, verdict: str) -> None:
        writer.writerow((printable(image), f"{score:.6g}", verdict))
        sys.stdout.flush()

    return as_csv


def run() -> None:
    """Run the command as a script."""
    sys.exit(main())


if __name__ == "__main__":
    run()
