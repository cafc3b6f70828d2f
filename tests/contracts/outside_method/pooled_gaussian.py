"""A method from elsewhere: how unlikely an image's pooled pixels are under one Gaussian."""

from collections.abc import Iterator
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from kd_models.data import DatasetRow
from kd_models.evaluation.scoring import Scorer
from kd_models.methods.base import Detector, Learner, Method, MethodSettings, Step, Variant
from kd_models.values import Count


class Gaussian(nn.Module):
    def __init__(self, channels: int, side: int) -> None:
        super().__init__()
        self.pool = nn.Sequential(nn.AdaptiveAvgPool2d(side), nn.Flatten())
        self.register_buffer("mean", torch.zeros(channels * side * side))
        self.register_buffer("precision", torch.eye(channels * side * side))

    def forward(self, x: Tensor) -> Tensor:
        difference = self.pool(x) - self.mean
        return (difference @ self.precision * difference).sum(1)


class GaussianDetector(Detector):
    method: Literal["pooled_gaussian"] = "pooled_gaussian"
    size: tuple[int, Count]

    @property
    def channels(self) -> int:
        return self.size[0]

    def scorer(self) -> Scorer:
        return Scorer(Gaussian(*self.size))


class GaussianStep(Step):
    axis: ClassVar[str] = "side"
    scored: ClassVar[str] = "gaussian"
    size: tuple[int, Count]

    @property
    def name(self) -> str:
        return str(self.size[1])

    @property
    def detector(self) -> GaussianDetector:
        return GaussianDetector(size=self.size)

    def learner(self, seed: int, context: object) -> Learner:
        return GaussianLearner({"gaussian": Gaussian(*self.size)})


class GaussianLearner(Learner):
    def fit(self, images: Tensor, world: object) -> None:
        gaussian = self.trained["gaussian"]
        values = gaussian.pool(images).double()
        noise = 0.01 * torch.eye(values.shape[1]).to(values)
        gaussian.mean.copy_(values.mean(0))
        gaussian.precision.copy_(torch.linalg.inv(values.T.cov() + noise))

    def scorer(self) -> Scorer:
        return Scorer(self.trained["gaussian"]).eval()


class GaussianSettings(MethodSettings):
    sides: tuple[Count, ...] = (8,)

    def variants(
        self, dataset: DatasetRow, images: int | None, pretrained_sha256: str | None
    ) -> Iterator[Variant]:
        for side in self.sides:
            step = GaussianStep(size=(dataset.channels, side))
            yield Variant({"side": side}, image_size=32, steps=((step, None),))


METHOD = Method("pooled_gaussian", "a Gaussian of pixels", GaussianSettings, GaussianDetector)
