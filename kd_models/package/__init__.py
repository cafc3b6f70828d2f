"""A detector to take away: its folder, what that says of itself, and its model card."""

from kd_models.package.config import (
    ExportedModel,
    Exports,
    Measured,
    OverSeeds,
    PackageConfig,
    Preprocessing,
)
from kd_models.package.folder import CARD, PROGRAM, TEACHER, WEIGHTS, Package

__all__ = [
    "CARD",
    "PROGRAM",
    "TEACHER",
    "WEIGHTS",
    "ExportedModel",
    "Exports",
    "Measured",
    "OverSeeds",
    "Package",
    "PackageConfig",
    "Preprocessing",
]
