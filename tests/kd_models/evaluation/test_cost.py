from collections.abc import Callable, Iterator, Sequence
from itertools import count
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor, nn

from kd_models.evaluation import cost as module
from kd_models.evaluation.cost import Complexity, complexity, latency_ms, measure_cost
from kd_models.methods.eca_mkdad.networks import Student, Teacher
from kd_models.methods.eca_mkdad.placements import PLACEMENTS
from kd_models.methods.eca_mkdad.scores import FeatureScorer
from kd_models.methods.pkdgan.networks import Generator
from kd_models.methods.pkdgan.scores import NoveltyScorer

IMAGE = torch.zeros(1, 3, 32, 32)


def feature_scorer() -> FeatureScorer:
    student = Student(PLACEMENTS["eca"], "lightweight")
    return FeatureScorer(student, Teacher(), (3, 4, 5), 0.01)


class Clock:
    """Stands in for the clock: a forward pass of :meth:`network` takes what it is told."""

    def __init__(self, seconds: Sequence[float]) -> None:
        self.now, self.passes = 0.0, 0
        self._seconds = seconds

    def read(self) -> float:
        return self.now

    def network(self) -> nn.Module:
        clock = self

        class Slow(nn.Module):
            def forward(self, x: Tensor) -> Tensor:
                clock.now += clock._seconds[min(clock.passes, len(clock._seconds) - 1)]
                clock.passes += 1
                return x

        return Slow()


@pytest.fixture
def clock_of(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Clock]:
    def make(*seconds: float) -> Clock:
        clock = Clock(seconds)
        monkeypatch.setattr(
            module, "time", SimpleNamespace(perf_counter=clock.read, thread_time=clock.read)
        )
        return clock

    return make


@pytest.fixture
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every look at the clock takes a second, so that a latency is of the fewest passes."""
    tick = count(1.0).__next__
    monkeypatch.setattr(module, "time", SimpleNamespace(perf_counter=tick, thread_time=tick))


@pytest.fixture
def threads() -> Iterator[int]:
    """A number of threads that is not the one a latency is measured with."""
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield 2
    torch.set_num_threads(before)


def test_complexities_add_up() -> None:
    assert Complexity(1, 20) + Complexity(300, 4000) == Complexity(301, 4020)


@pytest.mark.usefixtures("hurried")
def test_a_student_that_scores_alone_is_all_that_is_deployed() -> None:
    found = measure_cost(NoveltyScorer(Generator(1, (1, 2, 4)), "mse"), torch.zeros(1, 1, 32, 32))
    assert (found.params, found.flops) == (49_722, 76_416)
    assert (found.student_params, found.student_flops) == (49_722, 76_416)
    assert found.latency_ms == found.student_latency_ms


def test_a_latency_by_the_true_clock_is_positive() -> None:
    assert latency_ms(Generator(1, (1, 2, 4)), torch.zeros(1, 1, 32, 32)) > 0


@pytest.mark.usefixtures("hurried")
def test_a_teacher_beside_the_student_is_deployed_too() -> None:
    scorer = feature_scorer()
    found = measure_cost(scorer, IMAGE)
    student, teacher = complexity(scorer.student, IMAGE), complexity(Teacher(), IMAGE)
    assert (found.student_params, found.student_flops) == (student.params, student.flops)
    assert (found.params, found.flops) == (
        student.params + teacher.params,
        student.flops + teacher.flops,
    )
    assert found.params == 346_856 + 14_714_688


def test_the_deployed_latency_is_of_the_whole_scorer(clock_of: Callable[..., Clock]) -> None:
    clock = clock_of(0.5)

    class Both(NoveltyScorer):
        def forward(self, x_BCSS: Tensor) -> Tensor:
            return self.teacher(self.student(x_BCSS))

    scorer = Both(clock.network(), "mse")
    scorer.teacher = clock.network()
    found = measure_cost(scorer, IMAGE)
    assert found.student_latency_ms == pytest.approx(500)
    assert found.latency_ms == pytest.approx(1000)


@pytest.mark.parametrize(
    ("seconds", "passes", "expected"),
    [
        ((100.0, 0.4, 0.9, 0.2, 0.1), 4, 400.0),  # three in any case; the first is not counted
        ((7.0, 0.3, 0.1, 0.2, 0.6), 5, 250.0),  # as many as start within a second
        ((9.0, *[0.001] * 16, *[0.002] * 14), 31, 1.0),  # thirty at most
    ],
)
def test_a_latency_is_the_median_of_some_passes_in_milliseconds(
    seconds: tuple[float, ...],
    passes: int,
    expected: float,
    clock_of: Callable[..., Clock],
) -> None:
    clock = clock_of(*seconds)
    assert latency_ms(clock.network(), IMAGE) == pytest.approx(expected)
    assert clock.passes == passes


@pytest.mark.parametrize("training", [True, False])
def test_a_latency_is_measured_in_evaluation_mode_on_one_thread_without_gradients(
    training: bool, threads: int
) -> None:
    seen: set[tuple[bool, int, bool]] = set()

    class Watch(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            seen.add((self.training, torch.get_num_threads(), torch.is_grad_enabled()))
            return x

    network = Watch().train(training)
    latency_ms(network, IMAGE)
    assert seen == {(False, 1, False)}
    assert network.training is training
    assert torch.get_num_threads() == threads
    assert torch.is_grad_enabled()


def test_mode_and_threads_are_given_back_when_a_pass_fails(threads: int) -> None:
    network = nn.Sequential(nn.Conv2d(1, 1, 3)).train()
    with pytest.raises(RuntimeError, match="channels"):
        latency_ms(network, IMAGE)
    assert network.training
    assert torch.get_num_threads() == threads


@pytest.mark.usefixtures("hurried")
def test_measuring_leaves_every_network_of_a_scorer_in_the_mode_it_was_in() -> None:
    """A fresh scorer counts as training itself, while the networks it is made of do not."""
    scorer = feature_scorer()
    scorer.student.eval()
    scorer.teacher.eval()
    before = {name: part.training for name, part in scorer.named_modules()}
    measure_cost(scorer, IMAGE)
    assert {name: part.training for name, part in scorer.named_modules()} == before


@pytest.mark.usefixtures("hurried")
def test_measuring_changes_no_weight_and_no_running_average() -> None:
    scorer = feature_scorer()
    before = {name: tensor.clone() for name, tensor in scorer.state_dict().items()}
    measure_cost(scorer, torch.ones(2, 3, 32, 32))
    assert all(torch.equal(before[name], t) for name, t in scorer.state_dict().items())
