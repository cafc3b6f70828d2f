"""What a sweep was, in words: its facts, its settings, and the programs that read it."""

import platform
import re
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version

import yaml

from kd_models.evaluation.protocol import EvaluationProtocol
from kd_models.methods.registry import method_of
from kd_score.names import shortened, together
from orchestrator.planning.plan import Plan
from orchestrator.planning.spec import SweepSpec
from orchestrator.reporting.results import CandidateResult

_PACKAGES = ("kd-orchestrator", "torch", "ray", "mlflow", "onnxruntime", "numpy")
_MOST_NAMED = 30
"""classes of a dataset, or seeds"""

PROTOCOLS: Mapping[EvaluationProtocol, str] = {
    "holdout": (
        "holdout: the test images are split in two. Threshold and choice use the validation half, "
        "error rates and comparisons the test half, which nothing was chosen on."
    ),
    "paper": (
        "paper: thresholds, choice and comparisons all use the whole test split, as the papers do. "
        "Numbers of what was chosen are therefore somewhat too good."
    ),
}


def facts(plan: Plan, results: Sequence[CandidateResult]) -> dict[str, list[str]]:
    """Return what the sweep was, each fact with its lines."""
    spec = plan.spec
    counts = Counter(result.status for result in results)
    classes: dict[str, dict[str, str]] = {}
    for candidate in plan.candidates:
        own = classes.setdefault(candidate.dataset, {})
        own.setdefault(candidate.normal_class, candidate.normal_class_name)
    seeds = dict.fromkeys(seed for method in spec.methods for seed in spec.seeds_of(method))
    groups = {one.configuration.group: one.configuration.method for one in plan.candidates}
    return {
        "candidates": [", ".join(f"{n} {status}" for status, n in counts.items()) or "none"],
        "datasets and normal classes": [
            f"{dataset}: {_named(own)}" for dataset, own in classes.items()
        ],
        "methods": [_method(group, name) for group, name in groups.items()],
        "seeds": [", ".join(map(str, list(seeds)[:_MOST_NAMED])) + _more(len(seeds))],
        "protocol": [PROTOCOLS[spec.evaluation.protocol]],
        "page written": [time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime())],
    }


def _named(classes: Mapping[str, str]) -> str:
    names = [
        together(shortened(own, 60)) + ("" if own == name else f" ({name})")
        for own, name in classes.items()
    ]
    return ", ".join(names[:_MOST_NAMED]) + _more(len(names))


def _more(count: int) -> str:
    return f" and {count - _MOST_NAMED} more" if count > _MOST_NAMED else ""


def _method(group: str, name: str) -> str:
    called = group if group == name else f"{group} ({name})"
    return f"{called}: {method_of(name).summary}"


def settings(spec: SweepSpec) -> str:
    """Return the whole sweep file, defaults included, as YAML without passwords."""
    written = yaml.safe_dump(spec.as_written(), sort_keys=False, allow_unicode=True, width=100)
    return re.sub(r"(://[^/@:\s]*):[^/@\s]*@", r"\1:***@", written)


def versions() -> dict[str, str]:
    """Return the versions of the programs that wrote the page."""
    found = {"python": platform.python_version()}
    for name in _PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    return found
