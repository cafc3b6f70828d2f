"""What is published of f-AnoGAN (ECA_MKDAD, Zhou and Xing 2023, Table 1).

Each is the AUROC over the whole test split, mean over the dataset's classes. Its networks are not
described there; the numbers stand beside the default widths.
"""

from kd_models.methods.trained import beside_default_widths

PUBLISHED = beside_default_widths(
    {
        "mvtec": 0.7427,
        "mnist": 0.8906,
        "fmnist": 0.9195,
        "cifar10": 0.6311,
        "svhn": 0.5597,
        "stl10": 0.5603,
    }
)
"""by dataset and widths"""
