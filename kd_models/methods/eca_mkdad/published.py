"""What the paper publishes (ECA_MKDAD, Zhou and Xing 2023).

Each is the mean over the dataset's classes, scored by Eq. 13, from Tables 1 to 4. Of the ablations
the paper shows bars for single classes (Fig. 5 and 6) and no numbers. Table 1's MKDAD is the
method of others with a student of theirs, not the placement ``mkdad``.
"""

from collections.abc import Mapping
from types import MappingProxyType

from kd_models.methods.base import Published

PUBLISHED: Mapping[str, Mapping[str, Published]] = MappingProxyType(
    {
        "mvtec": {"eca": Published(0.9107, gmean=0.8538, fpr=0.1067, fnr=0.1771)},
        "mnist": {"eca": Published(0.9916, gmean=0.9614, fpr=0.0448, fnr=0.0324)},
        "fmnist": {"eca": Published(0.9495, gmean=0.8917, fpr=0.0700, fnr=0.1279)},
        "cifar10": {"eca": Published(0.8489, gmean=0.7834, fpr=0.2018, fnr=0.2492)},
        "svhn": {"eca": Published(0.7444, gmean=0.6812, fpr=0.3978, fnr=0.2245)},
        "stl10": {"eca": Published(0.9439, gmean=0.8711, fpr=0.1052, fnr=0.1511)},
    }
)
"""by dataset and placement"""
