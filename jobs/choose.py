"""``kd choose``, for ``ray job submit``."""

from orchestrator.cli import run_alone
from orchestrator.cli.choose import choose

if __name__ == "__main__":
    run_alone(choose)
