"""Sweeps that a doctor looks at."""

from collections.abc import Callable
from typing import Any

import pytest

from orchestrator.doctor.examine import examine
from orchestrator.doctor.findings import Finding
from orchestrator.executors.inline import InlineExecutor
from orchestrator.planning.spec import SweepSpec

SPEC: dict[str, Any] = {
    "name": "patient",
    "datasets": ["digits"],
    "baselines": [],
    "scores": ["paper"],
    "normal_classes": [0],
    "structures": ["alone"],
}


@pytest.fixture
def findings_of() -> Callable[..., list[Finding]]:
    """What is found of a small sweep with other settings, and not well."""

    def look(**settings: Any) -> list[Finding]:
        spec = SweepSpec.model_validate({**SPEC, **settings})
        found = list(examine(spec, InlineExecutor(), lambda line: None))
        return [finding for finding in found if finding.level != "ok"]

    return look
