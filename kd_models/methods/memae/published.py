"""What the second paper (ECA_MKDAD, Zhou and Xing 2023) publishes of MemAE.

Each is the mean over the dataset's classes, from Tables 1 to 4; the AUROC of MVTec AD is that of
Table 5's fifteen. Its networks are not described: the numbers stand beside the default widths.
"""

from kd_models.methods.base import Published
from kd_models.methods.trained import beside_default_widths

PUBLISHED = beside_default_widths(
    {
        "mvtec": Published(0.5548, gmean=0.5266, fpr=0.4981, fnr=0.2413),
        "mnist": Published(0.8825, gmean=0.8145, fpr=0.1742, fnr=0.1949),
        "fmnist": Published(0.8690, gmean=0.8022, fpr=0.2285, fnr=0.1649),
        "cifar10": Published(0.6525, gmean=0.5909, fpr=0.4866, fnr=0.2575),
        "svhn": Published(0.5210, gmean=0.4053, fpr=0.2915, fnr=0.6628),
        "stl10": Published(0.6089, gmean=0.5514, fpr=0.5647, fnr=0.2356),
    }
)
"""by dataset and widths"""
