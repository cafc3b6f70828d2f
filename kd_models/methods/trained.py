"""What methods have in common that train networks of several widths, each by one recipe."""

from abc import abstractmethod
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Annotated, ClassVar

from pydantic import Field

from kd_models.data import DatasetRow
from kd_models.methods.base import Detector, Published, Step, Variant
from kd_models.methods.fitted import DETECTOR
from kd_models.methods.named_recipes import RecipeSettings
from kd_models.methods.networks import IMAGE_SIZE, LATENT, WIDE, ConvNetworks, Widths
from kd_models.recipe import Recipe
from kd_models.values import Count, short_text


class NetworkDetector(Detector):
    """A detector that is made of networks of these shapes."""

    networks: ConvNetworks

    @property
    def channels(self) -> int:
        """Return the channels of its images."""
        return self.networks.channels


class NetworkStep(Step):
    """A training step of networks of these shapes; what it deploys is called ``detector``."""

    networks: ConvNetworks

    axis: ClassVar[str] = "widths"
    title: ClassVar[str]
    """what is trained, as tables and progress call it"""
    scored: ClassVar[str] = DETECTOR

    @property
    def name(self) -> str:
        """Return what is trained, and the widths."""
        return f"{self.title} {short_text(self.networks.widths)}"


class NetworkSettings(RecipeSettings):
    """Widths of the networks, and how these are trained."""

    widths: Annotated[tuple[Widths, ...], Field(min_length=1)] = (WIDE,)
    """of encoder and decoder; the axis"""
    latent: Count = LATENT
    """numbers between them"""
    training: Recipe = Recipe()

    def batch_sizes(self) -> Mapping[str, int]:
        """Return the batch size."""
        return {"training.batch_size": self.training.batch_size}

    def variants(
        self, dataset: DatasetRow, images: int | None, pretrained_sha256: str | None
    ) -> Iterator[Variant]:
        """Yield a variant for each of the widths."""
        for widths in self.widths:
            networks = ConvNetworks(channels=dataset.channels, widths=widths, latent=self.latent)
            yield Variant({"widths": list(widths)}, IMAGE_SIZE, self.chain(networks))

    @abstractmethod
    def chain(self, networks: ConvNetworks) -> tuple[tuple[Step, Recipe | None], ...]:
        """Return the steps of such networks and their recipes, parents before children."""


def beside_default_widths(
    published: Mapping[str, Published],
) -> Mapping[str, Mapping[str, Published]]:
    """Return what is published by dataset as ``Method.published``: it is of the default widths."""
    return MappingProxyType({name: {str(list(WIDE)): found} for name, found in published.items()})
