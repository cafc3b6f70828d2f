"""MVTec AD, and any folder in its layout: categories of photographs, good and defective."""

import functools
import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import torch
from torch import Tensor

from kd_models.data.errors import DataError, DatasetMissing, UnreadableImage
from kd_models.data.fingerprint import fingerprint_files
from kd_models.data.image_files import (
    ImageFile,
    ImageFiles,
    image_names,
    note_unused,
    read_folder,
    readable,
    with_depth,
)
from kd_models.data.image_set import Split, Splits
from kd_models.data.mask_files import MaskFiles, MaskSource
from kd_models.data.options import LoadOptions
from kd_models.data.read_image import decode_mask
from kd_score.names import printable, shown

_NAMES = (
    "bottle cable capsule carpet grid hazelnut leather metal_nut pill screw tile toothbrush"
    " transistor wood zipper"
)
CATEGORIES = tuple(_NAMES.split())

_FOLDERS = ("mvtec", "mvtec_anomaly_detection")  # The second is the official archive's own.
_SITE = "https://www.mvtec.com/company/research/datasets/mvtec-ad"
_MASK = "_mask"
_TRUTH = "ground_truth"
_EXPECTED = "train/good, test/good, test/<defect> and ground_truth/<defect>"
_TREE = """\
{root}
└── <category>           as many as there are, such as bottle
    ├── train
    │   └── good         images without a defect, to learn from
    ├── test
    │   ├── good         other images without a defect
    │   └── <defect>     images with a defect; one folder for each kind
    └── ground_truth     optional
        └── <defect>     for x.png the mask x_mask.png, black (0) where there is none"""


def load_mvtec(root: Path, options: LoadOptions) -> Splits:
    """Load MVTec AD, 15 categories: RGB and grey photographs, 700 to 1024 pixels wide and high.

    They are read from ``root``/mvtec or, if that is not there, ``root``/mvtec_anomaly_detection.
    There is no download, since MVTec's licence has to be accepted. See :func:`load_categories`.

    Raises:
        DatasetMissing: the folder, or that of a category to be read, is not there.
        DataError, UnreadableImage: as :func:`load_categories`.
    """
    tree = next((root / name for name in _FOLDERS if (root / name).is_dir()), None)
    if tree is None:
        problem = f"no folder {' or '.join(_FOLDERS)} in {shown(root)}"
        raise DatasetMissing(_missing(root / _FOLDERS[0], problem))
    wanted = _wanted(tree, CATEGORIES, options)
    absent = [category for category in wanted if not (tree / category).is_dir()]
    if absent:
        raise DatasetMissing(_missing(tree, f"no folder {', '.join(absent)} in {shown(tree)}"))
    return load_categories(tree, CATEGORIES, options)


def find_categories(path: Path) -> tuple[Path, tuple[str, ...]]:
    """Return the folder of category folders, and their names, sorted, that "mvtec:PATH" means.

    Args:
        path: PATH. It may itself be a category's folder, which is then the only one.

    Raises:
        DataError: there is no category; the message has the expected tree.
    """
    if not path.is_dir():
        problem = "is not there" if not path.exists() else "is no folder"
        raise DataError(_expected(path, f"{shown(path)} {problem}"))
    if _is_category(path):
        return path.parent, (path.name,)
    found = [folder.name for folder in _folders(path) if _is_category(folder)]
    if not found:
        raise DataError(
            _expected(path, f"{shown(path)} has no category, a folder with train/good, in it")
        )
    return path, tuple(found)


def load_categories(tree: Path, categories: Sequence[str], options: LoadOptions) -> Splits:
    """Read the categories that ``options.classes`` names; all if it is None.

    Labels are indices in ``categories``, whichever are read. The good test images of a category
    come first, then its folders of defects, in sorted order; images are sorted by path within. A
    folder of defects without an image does not count. The fingerprint covers the paths and bytes
    of the images and masks that are used.

    A mask is the file ground_truth/<defect>/<stem>_mask with any image suffix. A mask that marks
    nothing counts as missing. If ``options.unreadable`` is "skip", so does one that cannot be read
    or has not its image's size. ``Splits.notes`` tells of masks that count as missing, and of
    images that are not used.

    Args:
        tree: the folder of the category folders.
        categories: the names of all categories in it.
        options: with the categories to read.

    Raises:
        DataError: a category is unknown, lacks a folder or images (the message has the expected
            tree), or has an image with two masks.
        UnreadableImage: an image or mask cannot be used, unless ``options.unreadable`` is "skip";
            it is raised at the first of them.
    """
    skipped: list[str] = []
    notes: list[str] = []
    wanted = _wanted(tree, categories, options)
    parts = [_read_category(tree, name, options, skipped, notes) for name in wanted]
    train = [file for part in parts for file in part.train]
    test = [file for part in parts for file in part.test]
    return Splits(
        train=Split(ImageFiles(tree, train), _labels(categories, train)),
        test=Split(ImageFiles(tree, test), _labels(categories, test)),
        fingerprint=fingerprint_files(
            (file.name, file.sha256) for part in parts for file in part.files()
        ),
        test_names=tuple(file.name for file in test),
        skipped=tuple(skipped),
        test_defects=torch.tensor([k for part in parts for k in part.defects], dtype=torch.int64),
        masks=MaskFiles(tree, [mask for part in parts for mask in part.masks]),
        class_fingerprints={printable(part.name): part.fingerprint() for part in parts},
        notes=tuple(notes),
        depths={printable(part.name): part.depth for part in parts},
    )


@dataclass(frozen=True, kw_only=True)
class _Category:
    """What was read of a category: its images, and for each test image its defect and mask."""

    name: str
    train: tuple[ImageFile, ...]
    test: tuple[ImageFile, ...]
    defects: tuple[int, ...]
    masks: tuple[MaskSource, ...]
    depth: int | None

    def files(self) -> tuple[ImageFile, ...]:
        masks = (mask for mask in self.masks if isinstance(mask, ImageFile))
        return (*self.train, *self.test, *masks)

    def fingerprint(self) -> str:
        # By paths inside the category, so that it is the same in whatever tree the category lies.
        return fingerprint_files(
            (file.name.removeprefix(f"{self.name}/"), file.sha256) for file in self.files()
        )


def _read_category(
    tree: Path, name: str, options: LoadOptions, skipped: list[str], notes: list[str]
) -> _Category:
    def read(part: str) -> list[ImageFile]:
        return read_folder(tree, part, options, skipped, expected)

    expected = functools.partial(_expected, tree)
    train = read(f"{name}/train/good")
    test = read(f"{name}/test/good")
    defects = [0] * len(test)
    masks: list[MaskSource] = [image.size for image in test]
    kinds = [
        folder.name
        for folder in _folders(tree / name / "test")
        if folder.name != "good" and image_names(tree, f"{name}/test/{folder.name}")
    ]
    if not kinds:
        raise DataError(
            expected(f"{shown(tree / name / 'test')} has no folder of images with a defect in it")
        )
    found = _Masks(tree, name, options, skipped)
    for number, kind in enumerate(kinds, start=1):
        images = read(f"{name}/test/{kind}")
        masks += found.of(kind, images)
        test += images
        defects += [number] * len(images)
    notes += found.notes(kinds)
    used = [*(file.name for file in train + test), *skipped]
    truth = image_names(tree, f"{name}/{_TRUTH}")  # ``found`` has noted what is unused there
    note_unused(tree, name, [*used, *truth], _EXPECTED, notes)
    train, test, depth = with_depth(printable(name), train, test, options, notes)
    return _Category(
        name=name,
        train=tuple(train),
        test=tuple(test),
        defects=tuple(defects),
        masks=tuple(masks),
        depth=depth,
    )


class _Masks:
    """The masks of a category, and what is wrong with them."""

    def __init__(self, tree: Path, name: str, options: LoadOptions, skipped: list[str]) -> None:
        self._tree, self._name, self._options, self._skipped = tree, name, options, skipped
        self._of_defects = 0
        self._missing: list[str] = []
        self._empty: list[str] = []

    def of(self, kind: str, images: Sequence[ImageFile]) -> list[MaskSource]:
        """Return the masks of the images of a defect, in their order."""
        part = f"{self._name}/test/{kind}"
        names = _mask_names(self._tree, f"{self._name}/{_TRUTH}/{kind}")
        self._of_defects += len(images)
        masks: list[MaskSource] = []
        for image in images:
            mask = names.get(_stem(image.name, part))
            if mask is None:
                self._missing.append(image.name)
                masks.append(None)
            else:
                masks.append(self._read(mask, image))
        return masks

    def _read(self, name: str, image: ImageFile) -> ImageFile | None:
        def look_at(content: bytes, path: Path) -> ImageFile | None:
            mask = decode_mask(content, path, max_megapixels=self._options.max_megapixels)
            height, width = mask.shape
            if image.size != (height, width):
                raise UnreadableImage(
                    f"{shown(path)} is {height} pixels high and {width} wide; expected "
                    f"{image.size[0]} and {image.size[1]}, as its image {printable(image.name)}"
                )
            if not mask.any():
                self._empty.append(name)
                return None
            return ImageFile(name, hashlib.sha256(content).digest(), image.size)

        return readable(self._tree, name, self._options, self._skipped, look_at)

    def notes(self, kinds: Sequence[str]) -> list[str]:
        """Return what a person should know of them: sentences, each with numbers and an example."""
        notes: list[str] = []
        category = printable(self._name)
        of = f"of {self._of_defects} images with a defect"
        if self._empty:
            notes.append(
                f"{category}: the masks of {len(self._empty)} {of} mark nothing and count as "
                f"missing, the first is {printable(self._empty[0])}; expected: not black (0) where "
                "the defect is"
            )
        stray = self._stray(kinds)
        if self._missing and (stray or len(self._missing) < self._of_defects):
            example = self._missing[0].replace("/test/", f"/{_TRUTH}/", 1)
            expected = PurePosixPath(example).with_suffix("").as_posix() + f"{_MASK}.png"
            notes.append(
                f"{category}: {len(self._missing)} {of} have no mask, the first is "
                f"{printable(self._missing[0])}; expected {printable(expected)}"
            )
        if stray:
            notes.append(
                f"{category}: {len(stray)} files in {_TRUTH} belong to no image, the first is "
                f"{printable(stray[0])}; expected {_TRUTH}/<defect>/<name>{_MASK}.png for "
                "test/<defect>/<name>.png"
            )
        return notes

    def _stray(self, kinds: Sequence[str]) -> list[str]:
        """Return files below ground_truth that are no mask of any test image, good or defective."""
        matched: set[str] = set()
        for kind in (*kinds, "good"):
            part = f"{self._name}/test/{kind}"
            stems = {_stem(name, part) for name in image_names(self._tree, part)}
            masks = _mask_names(self._tree, f"{self._name}/{_TRUTH}/{kind}")
            matched |= {name for stem, name in masks.items() if stem in stems}
        folder = self._tree / self._name / _TRUTH
        files = (path.relative_to(self._tree) for path in folder.rglob("*") if path.is_file())
        names = (path.as_posix() for path in files if not any(p[0] == "." for p in path.parts))
        return sorted(set(names) - matched)


def _mask_names(tree: Path, folder: str) -> dict[str, str]:
    """Return the masks' paths in the tree, by the stem of the image they belong to."""
    names: dict[str, str] = {}
    for name in image_names(tree, folder):
        stem = _stem(name, folder)
        if stem.endswith(_MASK):
            other = names.setdefault(stem.removesuffix(_MASK), name)
            if other != name:
                raise DataError(
                    f"two masks for one image: {shown(tree / other)} and {shown(tree / name)}"
                )
    return names


def _stem(name: str, folder: str) -> str:
    """Return the path inside ``folder``, without the suffix."""
    return PurePosixPath(name).relative_to(folder).with_suffix("").as_posix()


def _wanted(tree: Path, categories: Sequence[str], options: LoadOptions) -> list[str]:
    if options.classes is None:
        return list(categories)
    keys = {printable(name): name for name in categories}
    unknown = [key for key in options.classes if key not in keys]
    if unknown:
        raise DataError(
            f"{shown(tree)} has no category {', '.join(unknown)}; expected of {', '.join(keys)}"
        )
    return [name for key, name in keys.items() if key in options.classes]


def _labels(categories: Sequence[str], files: Iterable[ImageFile]) -> Tensor:
    index = {name: number for number, name in enumerate(categories)}
    return torch.tensor([index[PurePosixPath(file.name).parts[0]] for file in files]).long()


def _is_category(folder: Path) -> bool:
    return (folder / "train" / "good").is_dir()


def _folders(folder: Path) -> list[Path]:
    return sorted(
        path for path in folder.iterdir() if path.is_dir() and not path.name.startswith(".")
    )


def _expected(root: Path, problem: str) -> str:
    return f"{problem}; a folder in MVTec AD's layout is a tree like this:\n{_drawn(root)}"


def _missing(tree: Path, problem: str) -> str:
    return (
        f"mvtec: {problem}. It is not downloaded, since its licence has to be accepted: "
        f"get it from {_SITE} and unpack it, so that there is a tree like this:\n{_drawn(tree)}"
    )


def _drawn(root: Path) -> str:
    return _TREE.format(root=shown(root))
