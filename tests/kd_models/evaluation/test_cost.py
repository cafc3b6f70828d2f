import math

import pytest
import torch

from kd_models.evaluation.cost import COST_METRICS, Complexity, Cost, NetworkCost, complexity
from kd_models.export.cost import measure_cost
from kd_models.methods.eca_mkdad.networks import student_network
from kd_models.methods.eca_mkdad.placements import PLACEMENTS
from kd_models.methods.eca_mkdad.scores import FeatureScorer
from kd_models.methods.ganomaly.networks import Generator
from kd_models.methods.pkdgan.scores import NoveltyScorer
from kd_models.methods.vgg16 import Teacher

IMAGE = torch.zeros(1, 3, 32, 32)


@pytest.fixture(scope="module")
def beside_a_teacher() -> tuple[FeatureScorer, Cost]:
    student = student_network(PLACEMENTS["eca"], "lightweight")
    scorer = FeatureScorer(student, Teacher(), (3, 4, 5), 0.01)
    scorer.student.eval()
    scorer.teacher.eval()
    before = {name: tensor.clone() for name, tensor in scorer.state_dict().items()}
    modes = {name: part.training for name, part in scorer.named_modules()}
    found = measure_cost(scorer, channels=3, image_size=32)
    # Measuring changes no weight, no running average and no mode of its networks.
    assert all(torch.equal(before[name], t) for name, t in scorer.state_dict().items())
    after = {name: part.training for name, part in scorer.named_modules()}
    assert {k: v for k, v in after.items() if k} == {k: v for k, v in modes.items() if k}
    return scorer, found


def test_complexities_add_up() -> None:
    assert Complexity(1, 20) + Complexity(300, 4000) == Complexity(301, 4020)


def test_a_student_that_scores_alone_is_all_that_is_deployed() -> None:
    scorer = NoveltyScorer(Generator(1, (1, 2, 4)), "mse")
    found = measure_cost(scorer, channels=1, image_size=32)
    assert (found.student.params, found.student.flops) == (49_722, 76_416)
    assert found.deployed == found.student
    assert 4 * 49_722 < found.student.size_bytes < 4 * 49_722 + 8192


def test_a_teacher_beside_the_student_is_deployed_too(
    beside_a_teacher: tuple[FeatureScorer, Cost],
) -> None:
    scorer, found = beside_a_teacher
    student, teacher = complexity(scorer.student, IMAGE), complexity(Teacher(), IMAGE)
    assert (found.student.params, found.student.flops) == (student.params, student.flops)
    assert found.deployed.params == student.params + teacher.params == 346_856 + 14_714_688
    assert found.deployed.flops == student.flops + teacher.flops
    for name in ("latency_us", "latency_us_batch32", "size_bytes", "peak_memory_bytes"):
        assert getattr(found.deployed, name) > getattr(found.student, name) > 0, name


def test_a_slower_tenth_is_slower_than_the_middle(
    beside_a_teacher: tuple[FeatureScorer, Cost],
) -> None:
    for cost in (beside_a_teacher[1].deployed, beside_a_teacher[1].student):
        latencies = {n: v for n, v in cost.model_dump().items() if n.startswith("latency_us")}
        assert len(latencies) == 8
        for name, value in latencies.items():
            assert math.isfinite(value)
            if not name.endswith("_p95"):
                assert latencies[f"{name}_p95"] >= value > 0, name
        assert cost.latency_us_batch32 > cost.latency_us


def test_every_figure_has_a_name_of_its_own() -> None:
    cost = NetworkCost(**dict.fromkeys(NetworkCost.model_fields, 1))
    other = NetworkCost(**dict.fromkeys(NetworkCost.model_fields, 2))
    metrics = Cost(deployed=cost, student=other).as_metrics()
    assert tuple(metrics) == COST_METRICS
    assert metrics["flops"] == 1
    assert metrics["student_flops"] == 2
