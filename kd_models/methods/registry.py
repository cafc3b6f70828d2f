"""The methods there are: those in the folders beside this file, and those of installed packages.

A package offers a method by an entry point of the group ``kd_models.methods``: its name is the
method's, its value the place of the :class:`Method`.
"""

import json
import pkgutil
from collections.abc import Mapping
from functools import cache
from importlib import import_module
from importlib.metadata import entry_points
from types import MappingProxyType
from typing import Annotated, Any

from pydantic import BeforeValidator, SerializeAsAny

import kd_models.methods
from kd_models.methods.base import Detector, Method
from kd_models.values import look_up

GROUP = "kd_models.methods"


class MethodError(ValueError):
    """An installed package offers a method that cannot be used."""


@cache
def methods() -> Mapping[str, Method]:
    """Return every method by name, the default one first.

    Raises:
        MethodError: a package offers something that is no method, or a name that is taken.
    """
    found = {method.name: method for method in _built_in()}
    for point in entry_points(group=GROUP):
        offer = f"the entry point {point.name} = {point.value} of {GROUP}"
        try:
            method = point.load()
        except Exception as error:
            raise MethodError(
                f"{offer} cannot be loaded ({type(error).__name__}: {error}); repair or remove "
                "its package"
            ) from error
        if not isinstance(method, Method) or method.name != point.name:
            raise MethodError(f"{offer} is no Method of that name")
        if method.name in found:
            raise MethodError(f"{offer}: there is a method of that name already")
        found[method.name] = method
    return MappingProxyType(dict(sorted(found.items(), key=lambda item: not item[1].is_default)))


def method_of(name: str) -> Method:
    """Look a method up.

    Raises:
        ValueError: there is none of that name; the message lists those there are.
        MethodError: as :func:`methods`.
    """
    return look_up(name, methods(), "method")


def _built_in() -> list[Method]:
    folders = [m.name for m in pkgutil.iter_modules(kd_models.methods.__path__) if m.ispkg]
    modules = [import_module(f"{kd_models.methods.__name__}.{name}") for name in folders]
    return [module.METHOD for module in modules]


def _read_detector(raw: Any) -> Any:
    if not isinstance(raw, Mapping):
        return raw
    # From JSON, since only there a list is a tuple.
    return method_of(str(raw.get("method"))).detector.model_validate_json(json.dumps(raw))


AnyDetector = Annotated[SerializeAsAny[Detector], BeforeValidator(_read_detector)]
"""A detector of any method, read from JSON by the method it names."""
