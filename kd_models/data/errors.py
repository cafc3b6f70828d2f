"""Errors of datasets, in words for the person who can correct them."""

from kd_score.errors import DataError, UnreadableImage

__all__ = ["DataError", "DatasetMissing", "UnreadableImage"]


class DatasetMissing(DataError):
    """Files are missing and could not be downloaded; the message says where to put them."""
