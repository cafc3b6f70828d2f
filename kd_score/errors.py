"""Errors of images and packages, in words for the person who can correct them."""


class DataError(ValueError):
    """A dataset, class or image cannot be used; the message names it and what was expected."""


class UnreadableImage(DataError):
    """A file is no image that Pillow can decode; the message names the file."""


class PackageError(ValueError):
    """The folder is not a detector's package, or is damaged."""
