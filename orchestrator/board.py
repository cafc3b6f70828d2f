"""Where running stages tell how far they are, for whoever watches the sweep."""

from collections.abc import Sequence
from dataclasses import dataclass

import ray

from orchestrator.stage import Row


@dataclass(frozen=True)
class News:
    """Finished epochs of a stage, or something else to tell."""

    stage: str
    rows: Sequence[Row] = ()
    line: str = ""


@ray.remote(num_cpus=0)
class Board:
    """One actor for a whole sweep: cheaper than a queue and a process for every trial."""

    def __init__(self) -> None:
        self._news: list[News] = []

    def post(self, news: News) -> None:
        self._news.append(news)

    def take(self) -> list[News]:
        """Return what was posted since the last call."""
        news, self._news = self._news, []
        return news
