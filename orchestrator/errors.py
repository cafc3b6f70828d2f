"""What a person can put right: commands print these without a traceback."""


class UserError(Exception):
    """Says what was wrong, where, what was expected and what to do."""
