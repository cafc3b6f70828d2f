"""``kd score``, for ``ray job submit``."""

from orchestrator.cli import run_alone
from orchestrator.cli.score import score

if __name__ == "__main__":
    run_alone(score)
