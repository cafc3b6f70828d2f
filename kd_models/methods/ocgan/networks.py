"""OCGAN's auto-encoder and its discriminator of latents.

Shapes: B images in a batch, C image channels, S pixels a side, Z latent numbers.
"""

from itertools import pairwise

from torch import Tensor, nn
from torch.func import functional_call

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


def parameters_of(network: nn.Module, *, fixed: bool) -> dict[str, Tensor]:
    """Return the parameters of a network by name, detached if they are ``fixed``."""
    return {
        name: parameter.detach() if fixed else parameter
        for name, parameter in network.named_parameters()
    }


def run_aside(network: nn.Module, inputs: Tensor, *, fixed: bool) -> Tensor:
    """Return a network's output for inputs that it is not to be deployed for.

    Its running statistics stay those of its other inputs.

    Args:
        network: the network; of several outputs, the first is returned.
        inputs: (B, ...).
        fixed: whether gradients pass through it but stop short of its parameters.
    """
    tensors = parameters_of(network, fixed=fixed)
    tensors |= {name: buffer.clone() for name, buffer in network.named_buffers()}
    outputs = functional_call(network, tensors, (inputs,))
    first: Tensor = outputs[0] if isinstance(outputs, tuple) else outputs
    return first
