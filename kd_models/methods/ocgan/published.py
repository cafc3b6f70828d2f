"""What is published of OCGAN (P-KDGAN, IJCAI 2020, Table 2): AUROC over the whole test split.

Each is the mean over the dataset's ten classes, as OCGAN's own paper has it too.
"""

from kd_models.methods.base import Published
from kd_models.methods.trained import beside_default_widths

PUBLISHED = beside_default_widths({"mnist": Published(0.9750), "cifar10": Published(0.6566)})
"""by dataset and widths"""
