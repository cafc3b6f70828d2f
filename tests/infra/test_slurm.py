"""sweep.sbatch, with stand-ins for Slurm, Ray and the sweep."""

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from ray.scripts.symmetric_run import curate_and_validate_ray_start_args, symmetric_run

SCRIPT = "infra/slurm/sweep.sbatch"
SRUN = """#!/bin/bash
while [ "$1" != ray ]; do shift; done
exec "$@"
"""
RAY = """#!/bin/bash
printf '%s\\n' "$@" > "$LOGS/ray"
stat --format %a "$RAY_AUTH_TOKEN_PATH" "$(dirname "$RAY_AUTH_TOKEN_PATH")" > "$LOGS/modes"
cp "$RAY_AUTH_TOKEN_PATH" "$LOGS/token"
if [ "${NO_RAY:-}" ]; then exit 0; fi # as symmetric-run does
while [ "$1" != -- ]; do shift; done
shift
exec "$@"
"""
HOSTNAME = """#!/bin/bash
echo '10.0.0.1 172.17.0.1 '
"""
KD = """#!/bin/bash
printf '%s\\n' "$RAY_ADDRESS" "$@" > "$LOGS/kd"
exit "$ENDS_WITH"
"""


@dataclass(frozen=True)
class Job:
    code: int
    errors: str
    logs: Path

    def lines(self, name: str) -> list[str]:
        return (self.logs / name).read_text().splitlines()


@pytest.fixture
def submit(root: Path, tmp_path: Path) -> Callable[..., Job]:
    programs = tmp_path / ".venv/bin"
    programs.mkdir(parents=True)
    for name, text in {"srun": SRUN, "ray": RAY, "kd": KD, "hostname": HOSTNAME}.items():
        (programs / name).write_text(text)
        (programs / name).chmod(0o755)
    (programs / "python").symlink_to(sys.executable)

    def run(*arguments: str, **more: str) -> Job:
        environment = {
            **{"PATH": os.environ["PATH"], "HOME": str(tmp_path), "LOGS": str(tmp_path)},
            **{"SLURM_SUBMIT_DIR": str(tmp_path), "SLURM_JOB_ID": "7", "SLURM_JOB_NUM_NODES": "2"},
            **{"SLURM_CPUS_PER_TASK": "16", "KD_HOME": "s3://bucket/prefix", "ENDS_WITH": "0"},
        }
        done = subprocess.run(
            ["bash", str(root / SCRIPT), *arguments],
            env=environment | more,
            capture_output=True,
            text=True,
            check=False,
        )
        return Job(done.returncode, done.stderr, tmp_path)

    return run


def test_shellcheck_finds_nothing(root: Path, lint: Callable[..., str]) -> None:
    assert lint("shellcheck", text=(root / SCRIPT).read_text()) == ""


@pytest.mark.parametrize("code", [0, 1, 2, 130])
def test_it_ends_as_the_sweep_does(submit: Callable[..., Job], code: int) -> None:
    job = submit("my sweep.yaml", "--set", "name=a b", ENDS_WITH=str(code))
    assert job.code == code, job.errors
    address, *arguments = job.lines("kd")
    assert arguments == ["sweep", "my sweep.yaml", "--set", "name=a b"]
    assert address == "10.0.0.1:6379"


def test_it_says_that_ray_did_not_start(submit: Callable[..., Job]) -> None:
    job = submit("sweep.yaml", NO_RAY="1")
    assert job.code == 2
    assert "Ray did not start" in job.errors


def test_a_file_and_a_home_are_asked_for(submit: Callable[..., Job]) -> None:
    assert "give a sweep file" in submit().errors
    job = submit("sweep.yaml", KD_HOME="")
    assert job.code != 0
    assert "KD_HOME" in job.errors
    assert not (job.logs / "ray").exists()


def test_every_job_has_a_token_that_nobody_else_reads(submit: Callable[..., Job]) -> None:
    tokens = set()
    for _ in range(2):
        job = submit("sweep.yaml")
        assert job.lines("modes") == ["600", "700"]
        tokens |= set(job.lines("token"))
        assert list(job.logs.glob(".kd-*")) == [], "gone with the job"
    assert len(tokens) == 2
    assert all(len(token) == 64 for token in tokens)


def test_ray_knows_what_it_is_told(
    submit: Callable[..., Job], monkeypatch: pytest.MonkeyPatch
) -> None:
    command, *arguments = submit("sweep.yaml").lines("ray")
    assert command == "symmetric-run"
    own = arguments[: arguments.index("--")]
    options = symmetric_run.make_context("x", list(own)).params
    assert options["min_nodes"] == 2
    assert options["address"] == "10.0.0.1:6379"
    assert curate_and_validate_ray_start_args(own) == ["--num-cpus", "16"]
