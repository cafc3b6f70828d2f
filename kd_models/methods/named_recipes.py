"""Recipes by name: settings that belong together, under what a sweep file sets itself."""

from abc import ABC
from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from pydantic import model_validator

from kd_models.methods.base import MethodSettings

RecipeName = Literal["recommended", "paper"]
"""``recommended``: the defaults; what was tried beside them is in docs/lab-notes.md;
``paper``: what the method's paper does, as closely as can be run"""


class RecipeSettings(MethodSettings, ABC):
    """Settings that a recipe by name completes."""

    recipes: ClassVar[Mapping[str, Mapping[str, Any]]]
    """settings by the recipe's name"""

    recipe: RecipeName = "recommended"
    """what is set where nothing else is"""

    @model_validator(mode="before")
    @classmethod
    def _completed(cls, raw: Any) -> Any:
        return with_recipe(raw, cls.recipes)


def with_recipe(raw: Any, recipes: Mapping[str, Mapping[str, Any]]) -> Any:
    """Return raw settings with those of the recipe that they name, where they set none.

    Args:
        raw: what a sweep file says of a method. Whatever is no mapping, or names no recipe that
            there is, is returned as it is: the settings' own model says what is wrong.
        recipes: settings by the recipe's name.
    """
    if not isinstance(raw, Mapping):
        return raw
    name = raw.get("recipe", "recommended")
    recipe = recipes.get(name) if isinstance(name, str) else None
    return raw if recipe is None else _under(raw, recipe)


def _under(raw: Mapping[str, Any], recipe: Mapping[str, Any]) -> dict[str, Any]:
    merged = {**recipe, **raw}
    for name, part in recipe.items():
        own = raw.get(name)
        if isinstance(part, Mapping) and isinstance(own, Mapping):
            merged[name] = _under(own, part)
    return merged
