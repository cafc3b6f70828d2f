"""What the second paper (ECA_MKDAD, Zhou and Xing 2023) publishes of MemAE.

AUROC over the whole test split, mean over the dataset's classes, from Table 1; that of MVTec AD is
the mean of Table 5's fifteen. Its networks are not described: the numbers stand beside the default
widths.
"""

from kd_models.methods.trained import beside_default_widths

PUBLISHED = beside_default_widths(
    {
        "mvtec": 0.5548,
        "mnist": 0.8825,
        "fmnist": 0.8690,
        "cifar10": 0.6525,
        "svhn": 0.5210,
        "stl10": 0.6089,
    }
)
"""by dataset and widths"""
