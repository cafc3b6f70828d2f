"""What is published of GANomaly (ECA_MKDAD, Zhou and Xing 2023, Table 1).

Each is the AUROC over the whole test split, mean over the dataset's classes. Its networks are not
described there; the numbers stand beside the default widths.
"""

from kd_models.methods.trained import beside_default_widths

PUBLISHED = beside_default_widths(
    {
        "mvtec": 0.7003,
        "mnist": 0.9603,
        "fmnist": 0.9012,
        "cifar10": 0.7415,
        "svhn": 0.5482,
        "stl10": 0.5689,
    }
)
"""by dataset and widths"""
