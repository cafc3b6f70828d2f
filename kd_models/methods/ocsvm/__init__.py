"""One-class SVM (Schoelkopf et al., 2001): on which side of its boundary an image is, how far."""

from kd_models.methods.base import Method
from kd_models.methods.ocsvm.published import PUBLISHED
from kd_models.methods.ocsvm.settings import OcsvmSettings
from kd_models.methods.ocsvm.step import OcsvmDetector

METHOD = Method(
    name="ocsvm",
    summary="one-class SVM of an image's pooled pixels (Schoelkopf et al. 2001)",
    settings=OcsvmSettings,
    detector=OcsvmDetector,
    published=PUBLISHED,
)
