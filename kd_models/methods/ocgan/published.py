"""What is published of OCGAN (P-KDGAN, IJCAI 2020, Table 2): AUROC over the whole test split.

Each is the mean over the dataset's ten classes, as OCGAN's own paper has it too.
"""

from collections.abc import Mapping
from types import MappingProxyType

from kd_models.methods.networks import WIDE

PUBLISHED: Mapping[str, Mapping[str, float]] = MappingProxyType(
    {"mnist": {str(list(WIDE)): 0.9750}, "cifar10": {str(list(WIDE)): 0.6566}}
)
"""by dataset and widths"""
