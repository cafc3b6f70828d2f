"""Errors of exporting."""


class ExportError(RuntimeError):
    """A scorer cannot be exported, or does not score as PyTorch does when it is."""
