"""What is published of GANomaly (ECA_MKDAD, Zhou and Xing 2023, Tables 1 to 4).

Each is the mean over the dataset's classes. Its networks are not
described there; the numbers stand beside the default widths.
"""

from kd_models.methods.base import Published
from kd_models.methods.trained import beside_default_widths

PUBLISHED = beside_default_widths(
    {
        "mvtec": Published(0.7003, gmean=0.6538, fpr=0.3157, fnr=0.3399),
        "mnist": Published(0.9603, gmean=0.9066, fpr=0.0923, fnr=0.0935),
        "fmnist": Published(0.9012, gmean=0.8353, fpr=0.2038, fnr=0.1848),
        "cifar10": Published(0.7415, gmean=0.6914, fpr=0.3261, fnr=0.2719),
        "svhn": Published(0.5482, gmean=0.4953, fpr=0.2721, fnr=0.6452),
        "stl10": Published(0.5689, gmean=0.4749, fpr=0.5623, fnr=0.2834),
    }
)
"""by dataset and widths"""
