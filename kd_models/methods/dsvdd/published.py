"""What the two papers publish of Deep SVDD.

Each is the mean over the dataset's ten classes. Those of MNIST and CIFAR-10 are from Table 2 of
P-KDGAN (IJCAI 2020), class by class the one-class row of Deep SVDD's own Table 1; the others from
Tables 1 to 4 of ECA_MKDAD (2023), which says no objective and has 0.9359 and 0.6106 for these two.
Its 0.8338 for MVTec is of images of 128 pixels a side.
"""

from collections.abc import Mapping
from types import MappingProxyType

from kd_models.methods.base import Published

PUBLISHED: Mapping[str, Mapping[str, Published]] = MappingProxyType(
    {
        "mnist": {"one-class": Published(0.9480)},
        "cifar10": {"one-class": Published(0.6481)},
        "fmnist": {"one-class": Published(0.9116, gmean=0.8539, fpr=0.1582, fnr=0.1294)},
        "svhn": {"one-class": Published(0.6068, gmean=0.5750, fpr=0.3530, fnr=0.4840)},
        "stl10": {"one-class": Published(0.6081, gmean=0.5296, fpr=0.4427, fnr=0.3676)},
    }
)
"""by dataset and objective"""
