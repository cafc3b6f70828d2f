"""Recipes by name: settings that belong together, under what a sweep file sets itself."""

from collections.abc import Mapping
from typing import Any, Literal

from kd_models.values import look_up

RecipeName = Literal["recommended", "paper"]
"""``recommended``, the default: settled by measurement (docs/results.md); ``paper``: what a method's
paper does, as closely as can be run"""


def with_recipe(raw: Any, recipes: Mapping[str, Mapping[str, Any]]) -> Any:
    """Return raw settings with those of the recipe that they name, where they set none.

    Args:
        raw: what a sweep file says of a method; whatever is no mapping is returned as it is.
        recipes: settings by the recipe's name.

    Raises:
        ValueError: there is no such recipe.
    """
    if not isinstance(raw, Mapping):
        return raw
    return _under(raw, look_up(raw.get("recipe", "recommended"), recipes, "recipe"))


def _under(raw: Mapping[str, Any], recipe: Mapping[str, Any]) -> dict[str, Any]:
    merged = {**recipe, **raw}
    for name, part in recipe.items():
        own = raw.get(name)
        if isinstance(part, Mapping) and isinstance(own, Mapping):
            merged[name] = _under(own, part)
    return merged
