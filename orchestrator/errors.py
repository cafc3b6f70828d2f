"""Errors that a user can correct: commands print these without a traceback."""


class UserError(Exception):
    """An error that says what was wrong, where, what was expected and what to do."""
