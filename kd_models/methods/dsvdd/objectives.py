"""What both stages of Deep SVDD minimise, with the weight decay of the paper's equations."""

from torch import Tensor

from kd_models.methods.dsvdd.losses import best_radius, outside_boundary, weight_decay
from kd_models.methods.dsvdd.networks import Hypersphere, LenetDecoder, weights_of
from kd_models.methods.objectives import LOSS, Batch, Objective


class AutoEncoderObjective(Objective):
    """The mean squared error of each pixel's reconstruction.

    Args:
        network: whose encoder is trained.
        decoder: the decoder.
        decay: lambda.
    """

    def __init__(self, network: Hypersphere, decoder: LenetDecoder, decay: float) -> None:
        super().__init__()
        self.network, self.decoder, self._decay = network, decoder, decay

    def forward(self, batch: Batch) -> tuple[dict[str, Tensor], Batch]:
        """Return the error, of images as their contrast was normalised."""
        x = self.network.contrast(batch["x"])
        error = (self.decoder(self.network.encoder(x)) - x).square().mean()
        decay = weight_decay(weights_of(self.network, self.decoder))
        return {"rec": error, "decay": decay, LOSS: error + self._decay * decay}, {}


class OneClassObjective(Objective):
    """The mean squared distance to the centre (Eq. 4).

    Args:
        network: what is trained.
        decay: lambda.
    """

    def __init__(self, network: Hypersphere, decay: float) -> None:
        super().__init__()
        self.network, self._decay = network, decay

    def forward(self, batch: Batch) -> tuple[dict[str, Tensor], Batch]:
        """Return the mean distance."""
        distance = self.network.distances(batch["x"]).mean()
        decay = weight_decay(weights_of(self.network))
        return {"distance": distance, "decay": decay, LOSS: distance + self._decay * decay}, {}


class SoftBoundaryObjective(Objective):
    """A hypersphere's volume, and what of the images lies outside (Eq. 3).

    It is minimised over R^2 in closed form, over the batch, as the authors' code does, and the
    weights follow the gradient of that minimum. So no radius is trained: that of the score is
    fitted to all training images once the weights are there.

    Args:
        network: what is trained.
        nu: the share of images that may lie outside.
        decay: lambda.
    """

    def __init__(self, network: Hypersphere, nu: float, decay: float) -> None:
        super().__init__()
        self.network, self._nu, self._decay = network, nu, decay

    def forward(self, batch: Batch) -> tuple[dict[str, Tensor], Batch]:
        """Return R^2 and the distances outside."""
        distances_B = self.network.distances(batch["x"])
        # Not detached: where nu * B is no whole number, R^2 carries part of the gradient.
        radius = best_radius(distances_B, self._nu)
        outside = outside_boundary(distances_B, radius, self._nu)
        decay = weight_decay(weights_of(self.network))
        loss = radius + outside + self._decay * decay
        return {"radius": radius, "outside": outside, "decay": decay, LOSS: loss}, {}
