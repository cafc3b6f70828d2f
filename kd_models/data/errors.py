"""What can be wrong with a dataset, told to the person who can put it right."""


class DataError(ValueError):
    """A dataset, class or image that cannot be used; the message names it and what was expected."""


class UnreadableImage(DataError):  # noqa: N818 - reads as what it is where it is raised
    """A file that is no image Pillow can decode; the message names the file."""


class DatasetMissing(DataError):  # noqa: N818
    """Files that are not there and could not be fetched; the message says where to put them."""
