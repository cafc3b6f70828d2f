"""Recipes by name: settings that belong together, under what a sweep file sets itself."""

from collections.abc import Mapping
from typing import Any, Literal

from kd_models.values import look_up

RecipeName = Literal["recommended", "paper"]
"""``recommended``: a method's defaults, settled by measurement (docs/results.md); ``paper``: what
its paper does, as closely as can be run"""


def with_recipe(raw: Any, recipes: Mapping[str, Mapping[str, Any]]) -> Any:
    """Return raw settings with those of the recipe that they name, where they set none.

    Args:
        raw: what a sweep file says of a method; whatever is no mapping is returned as it is.
        recipes: settings by the recipe's name; the defaults need no entry.

    Raises:
        ValueError: there is no such recipe.
    """
    if not isinstance(raw, Mapping) or "recipe" not in raw:
        return raw
    every = {"recommended": {}, **recipes}
    return _under(raw, look_up(raw["recipe"], every, "recipe"))


def _under(raw: Mapping[str, Any], recipe: Mapping[str, Any]) -> dict[str, Any]:
    merged = {**recipe, **raw}
    for name, part in recipe.items():
        own = raw.get(name)
        if isinstance(part, Mapping) and isinstance(own, Mapping):
            merged[name] = _under(own, part)
    return merged
