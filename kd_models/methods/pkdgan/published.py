"""What the paper publishes (P-KDGAN, IJCAI 2020): AUROC over the whole test split.

Each is the mean over the dataset's ten classes, of networks of the last epoch, scored by S_enc.
``teacher`` is from Tables 2 and 4, ``alone`` from Table 4, which says how far below the teacher it
is (3.15%, 2.32% and 1.91%), the others from Table 3.
"""

from collections.abc import Mapping
from types import MappingProxyType

from kd_models.methods.base import Published

PUBLISHED: Mapping[str, Mapping[str, Published]] = MappingProxyType(
    {
        "cifar10": {
            "teacher": Published(0.7376),
            "alone": Published(0.7061),
            "kdgan-1": Published(0.7159),
            "kdgan-2": Published(0.7243),
            "kdgan-3": Published(0.7094),
            "kdgan-4": Published(0.7258),
            "p-kdgan-23": Published(0.7305),
            "p-kdgan-24": Published(0.7252),
        },
        "mnist": {
            "teacher": Published(0.9780),
            "alone": Published(0.9548),
            "kdgan-1": Published(0.9670),
            "kdgan-2": Published(0.9675),
            "kdgan-3": Published(0.9718),
            "kdgan-4": Published(0.9687),
            "p-kdgan-23": Published(0.9725),
            "p-kdgan-24": Published(0.9667),
        },
        "fmnist": {
            "teacher": Published(0.9311),
            "alone": Published(0.9120),
            "kdgan-1": Published(0.9248),
            "kdgan-2": Published(0.9241),
            "kdgan-3": Published(0.9290),
            "kdgan-4": Published(0.9242),
            "p-kdgan-23": Published(0.9293),
            "p-kdgan-24": Published(0.9257),
        },
    }
)
"""by dataset and structure"""
