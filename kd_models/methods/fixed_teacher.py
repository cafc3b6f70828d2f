"""The fixed, pretrained teacher that the learners of a pack share, and its maps of their images."""

import logging
from collections.abc import Sequence

import torch
from torch import Tensor

from kd_models.evaluation.scoring import over_images
from kd_models.methods.base import PackContext
from kd_models.methods.objectives import Batch
from kd_models.methods.vgg16 import VGG16, Teacher, tap_shapes
from kd_models.world import World

log = logging.getLogger(__name__)


class FixedTeacher:
    """A pack's teacher.

    Args:
        context: its pretrained weights are those of ``vgg16_weights.read_teacher``.

    Attributes:
        network: the teacher, in evaluation mode.
    """

    def __init__(self, context: PackContext) -> None:
        self.network = context.once("teacher", lambda: _pretrained_teacher(context))
        self._budget = context.budget

    def kept(
        self, images: Tensor, world: World, layers: Sequence[int], half: bool, split: str
    ) -> Batch:
        """Return its maps of images (N, C, S, S) by name, or none where they take too much memory.

        Args:
            images: the images.
            world: the processes that share the work.
            layers: which maps.
            half: whether they are kept in half precision.
            split: what the images are called in a warning.
        """
        self.network.to(world.device)
        size = kept_bytes(layers, images.shape[-1], len(images), half)
        left = self._budget.left
        if not self._budget.reserve(size):
            log.warning(
                "the teacher runs live on the %s images: its maps of them would take %.2f "
                "GiB, more than the %.2f GiB there are for them (resources.teacher_cache_gib)",
                split,
                size / 2**30,
                (left or 0) / 2**30,
            )
            return {}

        def flat(x: Tensor) -> Tensor:
            maps = self.network(x)
            joined = torch.cat([maps[layer - 1].flatten(1) for layer in layers], 1)
            return joined.half() if half else joined

        whole = over_images(flat, images, world)
        shapes = [tap_shapes(VGG16, images.shape[-1])[layer - 1] for layer in layers]
        parts = whole.split([c * h * w for c, h, w in shapes], dim=1)
        return {
            layer_key(layer): part.unflatten(1, shape)
            for layer, part, shape in zip(layers, parts, shapes, strict=True)
        }


def _pretrained_teacher(context: PackContext) -> Teacher:
    assert context.pretrained is not None
    with torch.random.fork_rng(devices=[]):
        teacher = Teacher().eval().requires_grad_(False)
    teacher.load_state_dict(dict(context.pretrained))
    return teacher.to(memory_format=torch.channels_last)


def layer_key(layer: int) -> str:
    """Name a fixed teacher's map of a distillation layer in a batch."""
    return f"target/{layer}"


def kept_bytes(layers: Sequence[int], image_size: int, images: int, half: bool) -> int:
    """Return the memory that a teacher's maps of so many images of S x S pixels take."""
    shapes = tap_shapes(VGG16, image_size)
    values = sum(c * h * w for layer, (c, h, w) in enumerate(shapes, start=1) if layer in layers)
    return images * values * (2 if half else 4)
