"""Sweep files: YAML, which is only how a spec is spelled, and what is wrong with it in words."""

import re
import types
import typing
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from kd_models.methods.base import MethodSettings
from kd_models.methods.registry import method_of, methods
from kd_models.values import nearest
from kd_score.names import shown
from orchestrator.planning.spec import (
    SETTINGS,
    MethodSpec,
    SpecError,
    SweepSpec,
    default_method,
    frozen,
)
from orchestrator.planning.storage import StorageSpec
from orchestrator.planning.yaml_reader import read_yaml


def read_spec(path: Path, overrides: Sequence[str] = ()) -> SweepSpec:
    """Read a sweep file, with ``key.sub=value`` overrides applied on top.

    Raises:
        SpecError: no such file, no YAML mapping, or a setting that does not exist or fit.
    """
    try:
        raw = read_yaml(path.read_bytes())
    except OSError as error:
        raise SpecError(f"{shown(path)}: cannot be read ({error.strerror})") from None
    except yaml.constructor.ConstructorError as error:
        raise SpecError(f"{shown(path)}: {error}") from None
    except yaml.YAMLError as error:
        raise SpecError(f"{shown(path)}: is not YAML ({error})") from None
    if not isinstance(raw, dict):
        raise SpecError(
            f"{shown(path)}: expected settings (name: ..., datasets: ...), found {raw!r}"
        )
    for override in overrides:
        raw = _with(raw, override)
    try:
        return SweepSpec.model_validate(raw)
    except ValidationError as error:
        lines = _explained(SweepSpec, error, raw)
        # A group of settings that inherits from another has its mistakes too: say each once.
        own = [line for line in lines if not any(line.endswith(f".{other}") for other in lines)]
        said = [f"{shown(path)}: {line}" for line in own]
        raise SpecError("\n".join(said)) from None


def method_settings(name: str, overrides: Sequence[str]) -> MethodSettings:
    """Return the settings of a method: its example's, with ``key.sub=value`` overrides on top.

    Raises:
        SpecError: there is no such method, or a setting does not exist or fit.
    """
    try:
        method = method_of(name)
    except ValueError as error:
        raise SpecError(str(error)) from None
    raw = dict(method.example)
    for override in overrides:
        raw = _with(raw, override)
    try:
        return method.settings.model_validate(frozen(raw))
    except ValidationError as error:
        raise SpecError("\n".join(_explained(method.settings, error))) from None


def default_storage() -> StorageSpec:
    """Return where results live when no sweep file says so.

    Raises:
        SpecError: $KD_HOME or $MLFLOW_TRACKING_URI is no place for them.
    """
    try:
        return StorageSpec()
    except ValidationError as error:
        lines = "\n".join(_explained(StorageSpec, error))
        raise SpecError(f"{lines} (KD_HOME and MLFLOW_TRACKING_URI say where)") from None


def _with(raw: dict[str, Any], override: str) -> dict[str, Any]:
    """Return the settings with one overridden; what an alias (``*name``) shares stays as it is."""
    name, equals, value = override.partition("=")
    keys = name.split(".")
    if not equals or not all(keys):
        raise SpecError(f"--set {override}: expected key=value, such as training.epochs=3")
    try:
        parsed = read_yaml(value)
    except yaml.YAMLError as error:
        problem = getattr(error, "problem", None) or error
        raise SpecError(f"--set {override}: {value!r} is not a YAML value ({problem})") from None

    def set_below(group: Any, path: Sequence[str]) -> dict[str, Any]:
        if not isinstance(group, dict):
            at = keys[len(keys) - len(path) - 1]
            raise SpecError(f"--set {override}: {at} is a value, not a group of settings")
        first, *rest = path
        return {**group, first: set_below(group.get(first, {}), rest) if rest else parsed}

    return set_below(raw, keys)


_Place = tuple[str | int, ...]


def _explained(
    model: type[BaseModel], error: ValidationError, raw: Mapping[str, Any] | None = None
) -> list[str]:
    """Put into words what is wrong with each setting of a ``model``, in a line each.

    Args:
        model: what was validated.
        error: its error.
        raw: what the sweep file says, if the model is that of one.
    """
    at: dict[_Place, list[ErrorDetails]] = {}
    for detail in error.errors():
        at.setdefault(_place(detail), []).append(detail)
    # A setting may have several forms, and pydantic reports an error for each. Where one of them
    # has an error deeper inside, that form was meant, and only its error is told.
    meant = {
        place: details
        for place, details in at.items()
        if not any(len(other) > len(place) and other[: len(place)] == place for other in at)
    }
    lines = []
    for place, details in meant.items():
        if raw is not None and len(place) > 2 and place[0] == "methods":
            lines.append(_line_of_a_method(place, details, raw))
        else:
            lines.append(_line(place, details, model, list(model.model_fields)))
    return lines


def _line_of_a_method(
    place: _Place, details: Sequence[ErrorDetails], raw: Mapping[str, Any]
) -> str:
    """Say what is wrong with a method's setting, as :func:`_line`."""
    _, number, *inside = place
    assert isinstance(number, int)
    of_all: list[str] = []
    prefix: _Place = place[:2]
    entry: Any = raw
    if isinstance(raw.get("methods"), list):
        entry = raw["methods"][number]
    else:  # its settings stand beside the sweep's own
        prefix, of_all = (), [name for name in SweepSpec.model_fields if name != "methods"]
    model: type[BaseModel] = MethodSpec
    top = [*of_all, *MethodSpec.own_settings()]
    if inside[0] == SETTINGS:
        inside = inside[1:]
        name = entry.get("method", default_method()) if isinstance(entry, Mapping) else ""
        if method := methods().get(str(name)):
            model = method.settings
            top += model.model_fields
    return _line(tuple(inside), details, model, list(dict.fromkeys(top)), prefix)


def _line(
    place: _Place,
    details: Sequence[ErrorDetails],
    model: type[BaseModel],
    top: Sequence[str],
    prefix: _Place = (),
) -> str:
    """Say the setting, what is wrong, and what is near.

    Args:
        place: where the setting is in the ``model``.
        details: what pydantic says of it.
        model: of which it is a setting.
        top: the settings there are at its top.
        prefix: where the ``model`` is in the sweep file.
    """
    where = ".".join(map(str, (*prefix, *place)))
    kinds = {detail["type"] for detail in details}
    if "extra_forbidden" in kinds:
        valid = _settings_at(model, place[:-1]) if len(place) > 1 else top
        return f"{where} is not a setting{nearest(place[-1], valid)} (there are {', '.join(valid)})"
    if "missing" in kinds:
        return f"{where} is missing"
    first = details[0]
    if first["type"] == "value_error":  # a sentence of our own
        message = first["msg"].removeprefix("Value error, ")
        return f"{where}: {message}" if where else message
    given = _as_written(first["input"])
    return f"{where}: {_expected(details)}, not {given!r}{_hint(details, given)}"


def _expected(details: Sequence[ErrorDetails]) -> str:
    # Where the value is of one form's type, only that form's error is told.
    other_form = [d["type"].endswith(("_type", "literal_error")) for d in details]
    if not all(other_form):
        details = [d for d, other in zip(details, other_form, strict=True) if not other]
    # As one writes it: lists of a sweep file are tuples here.
    messages = [d["msg"].replace("Tuple", "List").replace("tuple", "list") for d in details]
    more = [message.removeprefix("Input should be ") for message in messages[1:]]
    return " or ".join([messages[0], *more])


def _as_written(value: Any) -> Any:
    return [_as_written(part) for part in value] if isinstance(value, tuple) else value


def _hint(details: Sequence[ErrorDetails], given: object) -> str:
    kinds = {detail["type"] for detail in details}
    if "string_type" in kinds and (given is None or isinstance(given, int | float)):
        return "; text that looks like a number, true, false or null needs quotes"
    expected = [str(detail.get("ctx", {}).get("expected", "")) for detail in details]
    near = nearest(given, re.findall(r"'([^']*)'", " ".join(expected)))
    if not near and kinds & {"int_type", "float_type"} and isinstance(given, str):
        return "; numbers are decimal, without leading zeros, underscores or quotes"
    return near


def _place(detail: ErrorDetails) -> _Place:
    """Return where a mistake is, without pydantic's names for the forms that a value may have."""
    *path, last = detail["loc"] or ("",)
    parts = [part for part in path if not _FORM.fullmatch(str(part))]
    if detail["type"] == "extra_forbidden" or not _FORM.fullmatch(str(last)):
        parts.append(last)
    return tuple(parts)


_FORM = re.compile(
    r"(literal|tuple|list|dict|union|constrained-\w+|function-[\w-]+)\[.*\]"
    r"|constrained-\w+|int|str|float|\[key\]"
)


def _settings_at(model: type[BaseModel], location: Sequence[str | int]) -> list[str]:
    for part in location:
        if isinstance(part, str) and part in model.model_fields:
            model = _model_in(model.model_fields[part].annotation) or model
    return list(model.model_fields)


def _model_in(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and not isinstance(annotation, types.GenericAlias):
        return annotation if issubclass(annotation, BaseModel) else None
    found = (_model_in(argument) for argument in typing.get_args(annotation))
    return next((model for model in found if model), None)
