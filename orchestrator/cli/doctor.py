"""Look whether a sweep can run, before it is run."""

from dataclasses import asdict

from rich.console import Console, Group
from rich.table import Table

from orchestrator.cli.answers import Answer, DebugFlag, JsonFlag, respond
from orchestrator.cli.arguments import (
    DEFAULT_EXECUTOR,
    Address,
    ExecutorName,
    Overrides,
    SweepFile,
)
from orchestrator.console import Say
from orchestrator.doctor.findings import Finding
from orchestrator.executors import open_executor
from orchestrator.planning.sweep_file import read_spec


def doctor(
    file: SweepFile,
    overrides: Overrides = None,
    address: Address = None,
    executor: ExecutorName = DEFAULT_EXECUTOR,
    as_json: JsonFlag = False,
    debug: DebugFlag = False,
) -> None:
    """Look whether a sweep can run, before it is run.

    From here and from every machine of the cluster: whether results can be written and read where
    the file says, MLflow takes runs and artifacts, the data can be had, the cluster has room for a
    trial, and its machines have the same Python and packages, their GPUs, and room. Probes are
    removed again; in MLflow the experiment kd-doctor stays.

    Exit code: 0 nothing that a sweep would fail of; 1 there is; 2 an error.
    """

    def work(log: Console, say: Say) -> Answer:
        from orchestrator.doctor.examine import examine

        spec = read_spec(file, overrides or ())
        findings = list(examine(spec, open_executor(executor, address), say))
        healthy = not any(finding.level == "fault" for finding in findings)
        data = {
            "name": spec.name,
            "healthy": healthy,
            "findings": [asdict(finding) for finding in findings],
        }
        return Answer(data, Group(*_texts(findings)), exit_code=0 if healthy else 1)

    respond(work, as_json, debug)


def _texts(findings: list[Finding]) -> list[Table | str]:
    table = Table("check", "where", "", "what was found")
    for finding in findings:
        table.add_row(finding.check, finding.where, finding.level, finding.what)
    fixes = [
        f"{finding.level}, {finding.check} {finding.where}: {finding.fix}"
        for finding in findings
        if finding.fix
    ]
    return [table, *(["What to do:", *fixes] if fixes else ["All is well."])]
