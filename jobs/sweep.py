"""``kd sweep``, for ``ray job submit``."""

from orchestrator.cli import run_alone
from orchestrator.cli.sweep import sweep

if __name__ == "__main__":
    run_alone(sweep)
