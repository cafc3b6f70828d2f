"""Sweep files: YAML, which is only how a spec is spelled, and what is wrong with it in words."""

import types
import typing
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError

from kd_models.values import look_up, nearest
from orchestrator.methods import METHODS
from orchestrator.spec import SpecError, SweepSpec
from orchestrator.yaml_reader import read_yaml


def read_spec(path: Path, overrides: Sequence[str] = ()) -> SweepSpec:
    """Read a sweep file, with ``key.sub=value`` overrides applied on top.

    Raises:
        SpecError: no such file, no YAML mapping, or a setting that does not exist or fit.
    """
    try:
        raw = read_yaml(path.read_bytes())
    except OSError as error:
        raise SpecError(f"{path}: cannot be read ({error.strerror})") from None
    except yaml.constructor.ConstructorError as error:
        raise SpecError(f"{path}: {error}") from None
    except yaml.YAMLError as error:
        raise SpecError(f"{path}: is not YAML ({error})") from None
    if not isinstance(raw, dict):
        raise SpecError(f"{path}: expected settings (name: ..., datasets: ...), found {raw!r}")
    for override in overrides:
        raw = _with(raw, override)
    method = raw.setdefault("method", next(iter(METHODS)))
    try:
        model = look_up(method, METHODS, "method")
    except ValueError as error:
        raise SpecError(f"{path}: method: {error}") from None
    try:
        return model.model_validate(raw)
    except ValidationError as error:
        lines = dict.fromkeys(explain(model, e) for e in _telling(error.errors()))
        # What is wrong with training is wrong with what teachers inherit of it: say it once.
        inherited = {f"teacher.{line}" for line in lines}
        said = [f"{path}: {line}" for line in lines if line not in inherited]
        raise SpecError("\n".join(said)) from None


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


def explain(model: type[BaseModel], error: Mapping[str, Any]) -> str:
    """Put one pydantic error of ``model`` into words: the setting, what is wrong, what is near."""
    location = _place(error)
    where = ".".join(str(part) for part in location)
    if error["type"] == "extra_forbidden":
        valid = _settings_at(model, location[:-1])
        return (
            f"{where} is not a setting{nearest(location[-1], valid)} (there are {', '.join(valid)})"
        )
    if error["type"] == "missing":
        return f"{where} is missing"
    message = str(error["msg"]).removeprefix("Value error, ")
    message = message.replace("Tuple", "List").replace("tuple", "list")  # as one writes it
    if not where:
        return message
    expected = str(error.get("ctx", {}).get("expected", ""))
    options = [option.strip(" '") for option in expected.replace(" or ", ",").split(",")]
    given = _as_written(error["input"])
    return f"{where}: {message}, not {given!r}{_hint(error['type'], given, options)}"


def _as_written(value: Any) -> Any:
    return [_as_written(part) for part in value] if isinstance(value, tuple) else value


def _hint(kind: str, given: object, options: Sequence[str]) -> str:
    if kind == "string_type" and (given is None or isinstance(given, int | float)):
        return "; text that looks like a number, true, false or null needs quotes"
    if kind in ("int_type", "float_type") and isinstance(given, str):
        return "; numbers are decimal, without leading zeros, underscores or quotes"
    return nearest(given, options)


def _telling(errors: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Leave out what pydantic says of a setting's other forms when one of its parts is wrong."""
    places = [_place(error) for error in errors]
    return [
        error
        for error, place in zip(errors, places, strict=True)
        if not any(len(other) > len(place) and other[: len(place)] == place for other in places)
    ]


def _place(error: Mapping[str, Any]) -> list[str | int]:
    return [part for part in error["loc"] if not _is_union_branch(part)]


def _is_union_branch(part: object) -> bool:
    return isinstance(part, str) and (
        "[" in part or part.startswith("constrained-") or part in ("int", "str", "float")
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
