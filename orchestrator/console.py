"""The console: names appear as they are, and command nothing."""

from collections.abc import Callable
from typing import Any

from rich.console import Console

from kd_score.names import harmless

PLAIN_WIDTH = 1000
"""Columns where there is no terminal to ask: tables take what they need, and lose nothing."""

Say = Callable[[str], None]
"""Tells whoever runs a command one thing that happened."""


class _Console(Console):
    def print(self, *objects: Any, **options: Any) -> None:
        texts = (harmless(each) if isinstance(each, str) else each for each in objects)
        super().print(*texts, **options)


def console(**options: Any) -> Console:
    """Return a console that prints names as they are.

    Brackets are no markup, colons no emoji, and control characters no commands to the terminal.
    """
    return _Console(markup=False, emoji=False, highlight=False, **options)
