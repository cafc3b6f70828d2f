"""``kd report``, for ``ray job submit``."""

from orchestrator.cli import run_alone
from orchestrator.cli.report import report

if __name__ == "__main__":
    run_alone(report)
