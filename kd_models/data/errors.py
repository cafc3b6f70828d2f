"""What can be wrong with a dataset, in words for the person who can put it right."""


class DataError(ValueError):
    """A dataset, class or image that cannot be used; the message names it and what was expected."""


class UnreadableImage(DataError):
    """A file that is no image Pillow can decode; the message names the file."""


class DatasetMissing(DataError):
    """Files that are not there and could not be fetched; the message says where to put them."""
