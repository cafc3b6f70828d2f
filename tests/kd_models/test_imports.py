import subprocess
import sys


def test_no_module_imports_orchestration_or_anything_slow_it_need_not() -> None:
    """In a fresh process: every module, then what a caller does to name a dataset's class.

    torchvision, scikit-learn, scipy and fvcore take seconds to import, which a trial's first
    process would wait for; they are imported where they are used.
    """
    heavy = ("ray", "mlflow", "boto3", "orchestrator")
    slow = ("torchvision", "sklearn", "scipy", "fvcore")
    code = f"""
import importlib, pkgutil, sys
import kd_models
names = [m.name for m in pkgutil.walk_packages(kd_models.__path__, "kd_models.")]
for name in names:
    importlib.import_module(name)
for name in ("package", "training.epochs", "evaluation.metrics", "data.load", "methods.registry"):
    assert f"kd_models.{{name}}" in sys.modules, names
from kd_models.data import dataset_row, resolve_class
assert resolve_class(dataset_row("fmnist"), "bag") == "8"
print([name for name in {heavy + slow} if name in sys.modules])
"""
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout.strip() == "[]"
