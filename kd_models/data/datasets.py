"""The datasets by name, and their classes by name."""

import difflib
import functools
import os
import re
import unicodedata
from collections.abc import Callable, Mapping
from pathlib import Path

from kd_models.data.digits import load_digits
from kd_models.data.errors import DataError
from kd_models.data.folder import load_folder
from kd_models.data.idx_sets import load_fmnist, load_mnist
from kd_models.data.image_set import DatasetRow, Splits
from kd_models.data.mvtec import CATEGORIES, find_categories, load_categories, load_mvtec
from kd_models.data.options import LoadOptions
from kd_models.data.torchvision_sets import load_cifar10, load_stl10, load_svhn
from kd_score.names import original, printable

_FOLDER = "folder:"
_MVTEC = "mvtec:"


def _indexed(names: str) -> dict[str, str]:
    return {str(index): name for index, name in enumerate(names.split(", "))}


_DIGITS = _indexed("0, 1, 2, 3, 4, 5, 6, 7, 8, 9")
_FASHION = _indexed(
    "T-shirt/top, Trouser, Pullover, Dress, Coat, Sandal, Shirt, Sneaker, Bag, Ankle boot"
)
_CIFAR10 = _indexed("airplane, automobile, bird, cat, deer, dog, frog, horse, ship, truck")
_STL10 = _indexed("airplane, bird, car, cat, deer, dog, horse, monkey, ship, truck")


def _mvtec_row(
    name: str, categories: tuple[str, ...], load: Callable[[Path, LoadOptions], Splits]
) -> DatasetRow:
    return DatasetRow(
        name=name,
        channels=3,
        classes={name: name for name in map(printable, categories)},
        load=load,
    )


DATASETS: Mapping[str, DatasetRow] = {
    row.name: row
    for row in (
        DatasetRow(
            name="digits",
            channels=1,
            classes=_DIGITS,
            load=load_digits,
            licence="cc-by-4.0",
        ),
        DatasetRow(
            name="mnist",
            channels=1,
            classes=_DIGITS,
            load=load_mnist,
            licence="cc-by-sa-3.0",
        ),
        DatasetRow(
            name="fmnist",
            channels=1,
            classes=_FASHION,
            load=load_fmnist,
            licence="mit",
        ),
        DatasetRow(
            name="cifar10",
            channels=3,
            classes=_CIFAR10,
            load=load_cifar10,
        ),
        DatasetRow(
            name="svhn",
            channels=3,
            classes=_DIGITS,
            load=load_svhn,
        ),
        DatasetRow(
            name="stl10",
            channels=3,
            classes=_STL10,
            load=load_stl10,
        ),
        _mvtec_row("mvtec", CATEGORIES, load_mvtec),
    )
}


def dataset_row(name: str) -> DatasetRow:
    """Return the row of a built-in dataset, or of "folder:PATH" or "mvtec:PATH".

    A relative PATH is taken from the current folder, and ``~`` is expanded. The row's name has the
    full path; name and classes are spelled as :func:`printable` does. Only loading finds out
    whether the folder exists, but the classes of "mvtec:PATH" are the categories that are there
    now.

    Raises:
        DataError: the name is unknown (the message has the valid ones and the nearest), PATH is
            empty or may mean two folders, or "mvtec:PATH" has no category.
    """
    if name.startswith(_FOLDER):
        return _folder_row(_path(name, _FOLDER))
    if name.startswith(_MVTEC):
        path = _path(name, _MVTEC)
        tree, categories = find_categories(path)
        load = functools.partial(_load_categories, tree, categories)
        return _mvtec_row(f"{_MVTEC}{printable(str(path))}", categories, load)
    try:
        return DATASETS[name]
    except KeyError:
        valid = [*DATASETS, f"{_FOLDER}PATH", f"{_MVTEC}PATH"]
        raise DataError(f"no dataset {name!r}; {_choices(name, valid, valid)}") from None


def resolve_class(row: DatasetRow, value: str | int) -> str:
    """Return the canonical key of a class given by key, display name (in any case), or index.

    A number is an index only where no class has it for a name. Names in the spelling of the file
    system are found too (see :func:`printable`).

    Raises:
        DataError: the class is unknown (the message has the valid ones and the nearest), or may be
            one of several.
    """
    found = _by_name(row, value)
    if len(found) == 1:
        return found[0]
    keys = list(row.classes)
    if found:
        raise DataError(
            f"{row.name}: class {value!r} may mean {' or '.join(found)}; "
            "write the name in full, as the folder is spelled"
        )
    # A bool is an int: true must not be class 1.
    if isinstance(value, int) and not isinstance(value, bool):
        alike = [key for key in keys if _number(key) == value]
        if alike:
            index = f", or the one with index {value}" if 0 <= value < len(keys) else ""
            raise DataError(
                f"{row.name}: class {value} may mean {' or '.join(alike)}{index}; "
                f"put the name in quotes, such as {alike[0]!r}"
            )
        if 0 <= value < len(keys):
            return keys[value]
    valid = [key if key == name else f"{key} ({name})" for key, name in row.classes.items()]
    # No name is near to an index that is out of range.
    names = [*keys, *row.classes.values()] if isinstance(value, str) else []
    raise DataError(f"{row.name} has no class {value!r}; {_choices(str(value), valid, names)}")


def _by_name(row: DatasetRow, value: str | int) -> list[str]:
    """Return the keys of all classes that a name means.

    It is the class with this key, else those with this spelling, else those with it in any case.
    """
    if isinstance(value, bool):
        return []
    given, spelled = str(value), printable(str(value))
    if given in row.classes:
        return [given]
    found = [key for key, name in row.classes.items() if spelled == key or name in (given, spelled)]
    if found or isinstance(value, int):
        return found
    wanted = _folded(value)
    return [k for k, name in row.classes.items() if wanted in (_folded(k), _folded(name))]


def _folded(name: str) -> str:
    """Return a name without case, outer spaces, and Unicode's several ways to write a letter."""
    return unicodedata.normalize("NFC", printable(name.strip()).casefold())


def _number(name: str) -> int | None:
    return int(name) if re.fullmatch(r"[-+]?[0-9]{1,9}", name) else None


def _path(name: str, prefix: str) -> Path:
    given = name.removeprefix(prefix)
    if not given.strip():
        raise DataError(f"'{prefix}' names no folder; expected {prefix}PATH")
    # It may be given as ``printable`` spells it, since all our tables and messages do.
    path, other = (
        Path(os.path.abspath(os.path.expanduser(text))) for text in (given, original(given))
    )
    if path == other or not other.exists():
        return path
    if path.exists():
        raise DataError(
            f"{name} may mean two folders, since a backslash also begins the code of a character "
            "that cannot be printed: double each backslash that is one"
        )
    return other


def _folder_row(root: Path) -> DatasetRow:
    return DatasetRow(
        name=f"{_FOLDER}{printable(str(root))}",
        channels=3,
        classes={"normal": "normal"},
        load=functools.partial(_load_tree, root),
    )


def _load_tree(tree: Path, root: Path, options: LoadOptions) -> Splits:
    """Load a folder dataset, which lies where its name says, not under the datasets' ``root``."""
    return load_folder(tree, options)


def _load_categories(
    tree: Path, categories: tuple[str, ...], root: Path, options: LoadOptions
) -> Splits:
    """Load a tree in MVTec AD's layout, as :func:`_load_tree`."""
    return load_categories(tree, categories, options)


def _choices(given: str, valid: list[str], names: list[str]) -> str:
    by_folded = {name.casefold(): name for name in names}
    nearest = difflib.get_close_matches(given.strip().casefold(), by_folded, n=1, cutoff=0.5)
    hint = f"; did you mean {by_folded[nearest[0]]}?" if nearest else ""
    return f"expected one of {', '.join(valid)}{hint}"
