"""What the two papers publish of Deep SVDD: AUROC over the whole test split.

Each is the mean over the dataset's ten classes. Those of MNIST and CIFAR-10 are from Table 2 of
P-KDGAN (IJCAI 2020), class by class the one-class row of Deep SVDD's own Table 1; the others from
Table 1 of ECA_MKDAD (2023), which says no objective and has 0.9359 and 0.6106 for these two. Its
0.8338 for MVTec is of images of 128 pixels a side.
"""

from collections.abc import Mapping
from types import MappingProxyType

PUBLISHED: Mapping[str, Mapping[str, float]] = MappingProxyType(
    {
        "mnist": {"one-class": 0.9480},
        "cifar10": {"one-class": 0.6481},
        "fmnist": {"one-class": 0.9116},
        "svhn": {"one-class": 0.6068},
        "stl10": {"one-class": 0.6081},
    }
)
"""by dataset and objective"""
