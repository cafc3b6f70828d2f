"""What is published of f-AnoGAN (ECA_MKDAD, Zhou and Xing 2023, Table 1).

Each is the AUROC over the whole test split, mean over the dataset's classes. Its networks are not
described there; the numbers stand beside the default widths.
"""

from collections.abc import Mapping
from types import MappingProxyType

from kd_models.methods.networks import WIDE

_AUROCS = {
    "mvtec": 0.7427,
    "mnist": 0.8906,
    "fmnist": 0.9195,
    "cifar10": 0.6311,
    "svhn": 0.5597,
    "stl10": 0.5603,
}

PUBLISHED: Mapping[str, Mapping[str, float]] = MappingProxyType(
    {dataset: {str(list(WIDE)): auroc} for dataset, auroc in _AUROCS.items()}
)
"""by dataset and widths"""
