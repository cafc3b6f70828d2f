"""Datasets for novelty detection: a row for each, loaders, and the one-class task."""

from kd_models.data.convert_ahead import convert_ahead
from kd_models.data.datasets import DATASETS, dataset_row, resolve_class
from kd_models.data.errors import DataError, DatasetMissing, UnreadableImage
from kd_models.data.image_files import ImageFiles, deep_images
from kd_models.data.image_set import DatasetRow, Images, ImageSet, Split
from kd_models.data.load import load
from kd_models.data.mask_files import MaskFiles
from kd_models.data.one_class import OneClassData, check_learnable, one_class
from kd_models.data.options import LoadOptions
from kd_models.data.preprocess import to_model_input, to_model_masks
from kd_models.data.read_image import as_tensor, read_image

__all__ = [
    "DATASETS",
    "DataError",
    "DatasetMissing",
    "DatasetRow",
    "ImageFiles",
    "ImageSet",
    "Images",
    "LoadOptions",
    "MaskFiles",
    "OneClassData",
    "Split",
    "UnreadableImage",
    "as_tensor",
    "check_learnable",
    "convert_ahead",
    "dataset_row",
    "deep_images",
    "load",
    "one_class",
    "read_image",
    "resolve_class",
    "to_model_input",
    "to_model_masks",
]
