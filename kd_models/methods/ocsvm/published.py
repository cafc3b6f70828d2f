"""What P-KDGAN's paper (IJCAI 2020) publishes, Table 2: AUROC over the whole test split.

The row MEAN, over ten classes. The paper does not say by which nu; here it is the default.
"""

from collections.abc import Mapping
from types import MappingProxyType

from kd_models.methods.base import Published

PUBLISHED: Mapping[str, Mapping[str, Published]] = MappingProxyType(
    {"cifar10": {"0.1": Published(0.5856)}, "mnist": {"0.1": Published(0.9513)}}
)
"""by dataset and nu"""
