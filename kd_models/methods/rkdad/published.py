"""What the second paper (ECA_MKDAD, Zhou and Xing 2023) publishes of RKDAD.

AUROC over the whole test split of MVTec AD, the mean of Table 5's fifteen categories. RKDAD is in
none of the paper's other tables. Its student is as large as its teacher.
"""

from collections.abc import Mapping
from types import MappingProxyType

from kd_models.methods.base import Published

PUBLISHED: Mapping[str, Mapping[str, Published]] = MappingProxyType(
    {"mvtec": {"full": Published(0.8400)}}
)
"""by dataset and student width"""
