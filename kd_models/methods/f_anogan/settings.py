"""f-AnoGAN's part of a sweep file: widths x one recipe for each of its two steps."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated, Any, ClassVar

from pydantic import Field

from kd_models.methods.base import Step
from kd_models.methods.f_anogan.step import EncoderStep, GanStep
from kd_models.methods.networks import ConvNetworks
from kd_models.methods.trained import NetworkSettings
from kd_models.recipe import Recipe
from kd_models.values import Count

NotNegative = Annotated[float, Field(ge=0)]


class FAnoganSettings(NetworkSettings):
    """Widths of the networks. The paper's are residual networks for larger images; see the card."""

    recipes: ClassVar[Mapping[str, Mapping[str, Any]]] = MappingProxyType(
        {
            "recommended": {
                # Small batches: the generator is trained in one step of five alone.
                "training": {"epochs": 40, "batch_size": 16, "lr": 0.002, "betas": (0.0, 0.9)},
                "encoder_training": {
                    "epochs": 20,
                    "batch_size": 16,
                    "lr": 0.001,
                    "betas": (0.9, 0.999),
                },
            },
            # The authors' code: its 50,000 steps of the encoder are 530 epochs of 6,000 images.
            # With these betas Adam is RMSProp, but for its correction of the first steps.
            "paper": {
                "training": {
                    "epochs": 530,
                    "batch_size": 64,
                    "lr": 0.0001,
                    "betas": (0.0, 0.9),
                    "schedule": "constant",
                },
                "encoder_training": {
                    "epochs": 530,
                    "batch_size": 64,
                    "lr": 0.00005,
                    "betas": (0.0, 0.9),
                    "schedule": "constant",
                },
            },
        }
    )

    latent: Count = 128
    """numbers that the generator makes an image of"""
    encoder_training: Recipe = Recipe()
    """how the second step is trained"""
    penalty: NotNegative = 10.0
    """weight of the gradient penalty"""
    critic_steps: Count = 5
    """steps of the critic for each of the generator"""
    kappa: NotNegative = 1.0
    """weight of the features' residual, in the encoder's loss and in the score"""

    def batch_sizes(self) -> Mapping[str, int]:
        """Return the batch sizes of both steps."""
        own = {"encoder_training.batch_size": self.encoder_training.batch_size}
        return {**super().batch_sizes(), **own}

    def chain(self, networks: ConvNetworks) -> tuple[tuple[Step, Recipe | None], ...]:
        """Return both steps."""
        gan = GanStep(networks=networks, penalty=self.penalty, critic_steps=self.critic_steps)
        encoder = EncoderStep(networks=networks, kappa=self.kappa)
        return ((gan, self.training), (encoder, self.encoder_training))
