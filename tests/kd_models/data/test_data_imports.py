import subprocess
import sys


def test_naming_a_dataset_costs_no_slow_import_and_no_orchestration() -> None:
    heavy = ("torchvision", "sklearn", "scipy", "ray", "mlflow", "boto3", "orchestrator")
    code = f"""
import sys
import kd_models.data as data
assert data.resolve_class(data.dataset_row("fmnist"), "bag") == "8"
print([name for name in {heavy} if name in sys.modules])
"""
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == "[]"
