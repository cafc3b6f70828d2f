"""OCGAN's auto-encoder and its discriminator of latents.

Shapes: B images in a batch, C image channels, S pixels a side, Z latent numbers.
"""

from itertools import pairwise

from torch import Tensor, nn

from kd_models.methods.networks import ConvNetworks


class AutoEncoder(nn.Module):
    """Encoder into the cube (-1, 1)^Z, and decoder out of it.

    Args:
        networks: their shapes.
    """

    def __init__(self, networks: ConvNetworks) -> None:
        super().__init__()
        self.encoder = networks.encoder()
        self.decoder = networks.decoder()

    def forward(self, x_BCSS: Tensor) -> tuple[Tensor, Tensor]:
        """Return the latents (B, Z) and the reconstructions (B, C, S, S)."""
        z_BZ = self.encoder(x_BCSS)[0].tanh()
        return z_BZ, self.decoder(z_BZ)


class LatentDiscriminator(nn.Sequential):
    """D_l: a perceptron from latents (B, Z) to a logit (B, 1).

    Args:
        latent: Z.
    """

    def __init__(self, latent: int) -> None:
        # Without the paper's batch norm, as its authors' code: see the card.
        sizes = (latent, 128, 64, 32, 16)
        layers: list[nn.Module] = []
        for fan_in, fan_out in pairwise(sizes):
            layers += [nn.Linear(fan_in, fan_out), nn.ReLU()]
        super().__init__(*layers, nn.Linear(sizes[-1], 1))
