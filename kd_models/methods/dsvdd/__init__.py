"""Deep SVDD (Ruff et al., ICML 2018): normal images' codes are drawn into a hypersphere."""

from kd_models.methods.base import Method
from kd_models.methods.dsvdd.published import PUBLISHED
from kd_models.methods.dsvdd.settings import DsvddSettings
from kd_models.methods.dsvdd.step import DsvddDetector

METHOD = Method(
    name="dsvdd",
    summary="an encoder that draws normal images to one point, scored by the distance (ICML 2018)",
    settings=DsvddSettings,
    detector=DsvddDetector,
    published=PUBLISHED,
)
