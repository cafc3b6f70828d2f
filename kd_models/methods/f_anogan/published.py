"""What is published of f-AnoGAN (ECA_MKDAD, Zhou and Xing 2023, Tables 1 to 4).

Each is the mean over the dataset's classes. Its networks are not
described there; the numbers stand beside the default widths.
"""

from kd_models.methods.base import Published
from kd_models.methods.trained import beside_default_widths

PUBLISHED = beside_default_widths(
    {
        "mvtec": Published(0.7427, gmean=0.5391, fpr=0.3652, fnr=0.6123),
        "mnist": Published(0.8906, gmean=0.8301, fpr=0.1905, fnr=0.1459),
        "fmnist": Published(0.9195, gmean=0.8593, fpr=0.1616, fnr=0.1174),
        "cifar10": Published(0.6311, gmean=0.5568, fpr=0.5184, fnr=0.2486),
        "svhn": Published(0.5597, gmean=0.5151, fpr=0.2821, fnr=0.6199),
        "stl10": Published(0.5603, gmean=0.5113, fpr=0.2757, fnr=0.6268),
    }
)
"""by dataset and widths"""
