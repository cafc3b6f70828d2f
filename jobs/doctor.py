"""``kd doctor``, for ``ray job submit``."""

from orchestrator.cli import run_alone
from orchestrator.cli.doctor import doctor

if __name__ == "__main__":
    run_alone(doctor)
