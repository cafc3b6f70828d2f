"""RKDAD (Cheng, Yang and Liu, PRCV 2021): a student learns how VGG16's layers relate."""

from kd_models.methods.base import Method
from kd_models.methods.rkdad.published import PUBLISHED
from kd_models.methods.rkdad.settings import RkdadSettings
from kd_models.methods.rkdad.step import RkdadDetector
from kd_models.methods.vgg16_weights import read_teacher

METHOD = Method(
    name="rkdad",
    summary="students that learn how VGG16's layers relate, by FSP matrices (RKDAD, PRCV 2021)",
    settings=RkdadSettings,
    detector=RkdadDetector,
    example={"training": {"epochs": 1}},
    read_pretrained=read_teacher,
    published=PUBLISHED,
)
