"""The students of ECA_MKDAD: VGG16's plan with attention among or in place of the ReLUs."""

from collections.abc import Sequence

from torch import nn

from kd_models.methods.eca_mkdad.attention import ATTENTIONS
from kd_models.methods.eca_mkdad.placements import Placement
from kd_models.methods.vgg16 import Student, StudentWidth, relu


def student_network(placement: Placement, width: StudentWidth) -> Student:
    """Return a student with initial weights."""

    def after_norm(channels: int, before_pool: bool) -> Sequence[nn.Module]:
        has_relu, attention = placement.after_norm(before_pool)
        return [
            *(relu(channels, before_pool) if has_relu else ()),
            *([ATTENTIONS[attention](channels)] if attention else ()),
        ]

    return Student(width, after_norm)
