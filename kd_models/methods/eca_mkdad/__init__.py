"""ECA_MKDAD (Zhou and Xing 2023): small students that learn VGG16's features of normal images."""

from kd_models.methods.base import Method
from kd_models.methods.eca_mkdad.published import PUBLISHED
from kd_models.methods.eca_mkdad.scores import FeatureDetector
from kd_models.methods.eca_mkdad.settings import EcaMkdadSettings
from kd_models.methods.vgg16_weights import read_teacher

METHOD = Method(
    name="eca_mkdad",
    summary="small students that learn VGG16's features of normal images (ECA_MKDAD, 2023)",
    settings=EcaMkdadSettings,
    detector=FeatureDetector,
    example={"training": {"epochs": 1}},
    read_pretrained=read_teacher,
    published=PUBLISHED,
)
