"""The bound on the likelihood, as pure functions. Shapes: B images, Z latent numbers."""

from torch import Tensor

from kd_models.methods.errors import squared_error


def reconstruction(x: Tensor, x_hat: Tensor) -> Tensor:
    """Return -log p(x | z) of each image (B,), but for a constant.

    Gaussian of variance 1 around the reconstruction: half the sum of squares. In the paper's
    Appendix C.2 the variance is the decoder's.
    """
    return squared_error(x, x_hat) / 2


def divergence(mean_BZ: Tensor, log_variance_BZ: Tensor) -> Tensor:
    """Return D_KL(q(z | x) || N(0, 1)) of each image (B,), Appendix B of the paper."""
    each = mean_BZ.square() + log_variance_BZ.exp() - 1 - log_variance_BZ
    return each.sum(1) / 2
