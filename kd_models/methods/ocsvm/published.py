"""What P-KDGAN's paper (IJCAI 2020) publishes, Table 2: AUROC over the whole test split.

The row MEAN, over ten classes. The paper does not say by which nu; here it is the default.
"""

from collections.abc import Mapping
from types import MappingProxyType

PUBLISHED: Mapping[str, Mapping[str, float]] = MappingProxyType(
    {"cifar10": {"0.1": 0.5856}, "mnist": {"0.1": 0.9513}}
)
"""by dataset and nu"""
