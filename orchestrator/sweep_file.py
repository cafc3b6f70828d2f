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


def read_spec(path: Path, overrides: Sequence[str] = ()) -> SweepSpec:
    """Read a sweep file, with ``key.sub=value`` overrides applied on top.

    Raises:
        SpecError: no such file, no YAML mapping, or a setting that does not exist or fit.
    """
    try:
        raw = yaml.safe_load(path.read_text())
    except OSError as error:
        raise SpecError(f"{path}: cannot be read ({error.strerror})") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise SpecError(f"{path}: is not YAML ({error})") from None
    if not isinstance(raw, dict):
        raise SpecError(f"{path}: expected settings (name: ..., datasets: ...), found {raw!r}")
    for override in overrides:
        _apply(raw, override)
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


def _apply(raw: dict[str, Any], override: str) -> None:
    name, equals, value = override.partition("=")
    keys = name.split(".")
    if not equals or not all(keys):
        raise SpecError(f"--set {override}: expected key=value, such as training.epochs=3")
    try:
        parsed = yaml.safe_load(value)
    except yaml.YAMLError:
        raise SpecError(f"--set {override}: {value!r} is not a YAML value") from None
    for key in keys[:-1]:
        raw = raw.setdefault(key, {})
        if not isinstance(raw, dict):
            raise SpecError(f"--set {override}: {key} is a value, not a group of settings")
    raw[keys[-1]] = parsed


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
    if not where:
        return message
    expected = str(error.get("ctx", {}).get("expected", ""))
    options = [option.strip(" '") for option in expected.replace(" or ", ",").split(",")]
    return f"{where}: {message}, not {error['input']!r}{nearest(error['input'], options)}"


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
