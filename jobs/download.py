"""``kd download``, for ``ray job submit``."""

from orchestrator.cli import run_alone
from orchestrator.cli.download import download

if __name__ == "__main__":
    run_alone(download)
