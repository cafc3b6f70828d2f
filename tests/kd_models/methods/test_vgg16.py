from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from kd_models.evaluation.cost import Complexity, complexity
from kd_models.methods.eca_mkdad.networks import student_network
from kd_models.methods.eca_mkdad.placements import PLACEMENTS
from kd_models.methods.vgg16 import (
    STUDENT_BLOCKS,
    VGG16,
    PoolTaps,
    Student,
    StudentWidth,
    Teacher,
    tap_shapes,
)

BATCH, SIDE = 32, 128
"""The golden numbers are of 32 x 3 x 128 x 128."""


def images(count: int, side: int = 32) -> Tensor:
    generator = torch.Generator().manual_seed(count)
    return torch.rand(count, 3, side, side, generator=generator) * 2 - 1


def student(placement: str = "eca", width: StudentWidth = "lightweight") -> Student:
    return student_network(PLACEMENTS[placement], width)


def torchvision_s() -> nn.Sequential:
    """The ``features`` of torchvision's vgg16(), without its 124 million other parameters."""
    from torchvision.models.vgg import cfgs, make_layers

    return make_layers(cfgs["D"])


def of_the_batch(network: nn.Module) -> Complexity:
    """Counted for one image, as a batch has so many times the FLOPs (tested below)."""
    one = complexity(network, torch.zeros(1, 3, SIDE, SIDE))
    return Complexity(one.params, BATCH * one.flops)


def test_the_teacher_is_torchvision_s_vgg16_by_name_and_shape() -> None:
    wanted = {f"features.{name}": t.shape for name, t in torchvision_s().state_dict().items()}
    found = {name: tensor.shape for name, tensor in Teacher().state_dict().items()}
    assert found == wanted
    assert len(found) == 26
    assert list(found) == list(wanted)


def test_the_teacher_computes_what_torchvision_s_vgg16_does() -> None:
    theirs, ours, x = torchvision_s(), Teacher(), images(2)
    with torch.no_grad():
        for layer in theirs:
            if isinstance(layer, nn.Conv2d):  # as it is initialised, hardly any signal is left
                nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
    ours.features.load_state_dict(theirs.state_dict())
    mean = torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1)
    std = torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1)
    with torch.no_grad():
        found, value = ours(x), ((x + 1) / 2 - mean) / std
        pools: list[Tensor] = []
        for layer in theirs:
            value = layer(value)
            if isinstance(layer, nn.MaxPool2d):
                pools.append(value)
    assert len(found) == len(pools) == 5
    for tap, pool in zip(found, pools, strict=True):
        assert pool.std() > 0.1
        torch.testing.assert_close(tap, pool, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("make", [Teacher, student])
def test_what_standardises_images_is_no_part_of_the_weights(make: Callable[[], nn.Module]) -> None:
    network = make()
    assert not [name for name in network.state_dict() if not name.startswith("features.")]
    buffers = {name: b.flatten().tolist() for name, b in network.named_buffers() if "." not in name}
    assert buffers == {
        "_mean": pytest.approx([0.485, 0.456, 0.406]),
        "_std": pytest.approx([0.229, 0.224, 0.225]),
    }


def test_the_teacher_s_golden_numbers() -> None:
    assert of_the_batch(Teacher()) == Complexity(14_714_688, 160_356_630_528)


@pytest.mark.parametrize(
    ("width", "placement", "params", "flops"),
    [
        ("lightweight", "mkdad", 346_832, 7_372_668_928),
        ("lightweight", "eca", 346_856, 7_384_543_232),
        ("lightweight", "eca-all", 346_879, 7_423_567_360),
        ("lightweight", "eca-null", 346_856, 7_384_543_232),
        ("lightweight", "se", 347_088, 7_384_539_136),
        ("lightweight", "scse", 347_216, 7_396_401_152),
        ("full", "mkdad", 14_718_912, 160_639_746_048),
        ("full", "eca", 14_718_950, 160_717_776_896),
        ("full", "eca-all", 14_718_973, 160_781_971_456),
        ("full", "eca-null", 14_718_950, 160_717_776_896),
        ("full", "se", 14_868_928, 160_722_141_184),
        ("full", "scse", 14_871_680, 160_799_735_808),
    ],
)
def test_the_students_golden_numbers(
    width: StudentWidth, placement: str, params: int, flops: int
) -> None:
    assert of_the_batch(student(placement, width)) == Complexity(params, flops)


@pytest.mark.parametrize("placement", ["eca", "eca-all", "se", "scse"])
def test_a_batch_has_so_many_times_the_flops_of_an_image(placement: str) -> None:
    network = student(placement)
    one, many = (complexity(network, images(count)) for count in (1, BATCH))
    assert many == Complexity(one.params, BATCH * one.flops)


def test_the_teacher_s_flops_of_a_whole_batch() -> None:
    """At 32 x 32, where every one of its FLOPs is there a sixteenth of the times."""
    assert 16 * complexity(Teacher(), images(BATCH)).flops == 160_356_630_528


@pytest.mark.parametrize("placement", PLACEMENTS)
@pytest.mark.parametrize("side", [32, 45, 96, 128])
def test_the_taps_of_a_student_have_the_stated_shapes(placement: str, side: int) -> None:
    taps = student(placement).eval()(images(1, side))
    expected = tap_shapes(STUDENT_BLOCKS["lightweight"], side)
    assert [tuple(tap.shape) for tap in taps] == [(1, *shape) for shape in expected]


@pytest.mark.parametrize("side", [32, 45, 96, 128])
def test_the_taps_of_the_teacher_have_the_stated_shapes(side: int) -> None:
    with torch.no_grad():
        taps = Teacher()(images(1, side))
    assert [tuple(tap.shape) for tap in taps] == [(1, *s) for s in tap_shapes(VGG16, side)]


@pytest.mark.parametrize(
    ("side", "expected"),
    [(32, [16, 8, 4, 2, 1]), (45, [22, 11, 5, 2, 1]), (96, [48, 24, 12, 6, 3])],
)
def test_the_sides_of_the_taps_by_hand(side: int, expected: list[int]) -> None:
    assert [shape[1:] for shape in tap_shapes(VGG16, side)] == [(s, s) for s in expected]


def test_the_layers_from_the_second_are_as_wide_as_the_teacher_s() -> None:
    wide = [c for c, _, _ in tap_shapes(VGG16, 32)]
    assert wide == [64, 128, 256, 512, 512]
    assert [c for c, _, _ in tap_shapes(STUDENT_BLOCKS["lightweight"], 32)] == [16, *wide[1:]]
    assert [c for c, _, _ in tap_shapes(STUDENT_BLOCKS["full"], 32)] == wide


@pytest.mark.parametrize("make", [Teacher, student])
def test_the_taps_are_not_overwritten_by_what_comes_after(make: Callable[[], PoolTaps]) -> None:
    """ReLUs work in place: each tap must be what the layers up to it give."""
    network, x = make().eval(), images(2)
    with torch.no_grad():
        taps = network(x)
        value, expected = (x + 1) / 2, []
        value = (value - network._mean) / network._std
        for layer in network.features:
            value = layer(value.clone())
            if isinstance(layer, nn.MaxPool2d):
                expected.append(value.clone())
    for tap, wanted in zip(taps, expected, strict=True):
        torch.testing.assert_close(tap, wanted)


def test_a_student_of_relus_alone_has_taps_of_at_least_0_and_one_of_attention_has_not() -> None:
    taps = {name: student(name)(images(4)) for name in ("eca", "eca-null", "eca-all")}
    assert all(tap.min() >= 0 for name in ("eca", "eca-null") for tap in taps[name])
    assert all(tap.min() < 0 for tap in taps["eca-all"])


@pytest.mark.parametrize("placement", PLACEMENTS)
def test_a_student_image_is_unaffected_by_its_batch_in_evaluation_mode(placement: str) -> None:
    network, x = student(placement), images(4)
    network(x)  # running averages other than those it starts with
    network.eval()
    with torch.no_grad():
        alone, together = network(x[1:2]), network(x)
    for one, many in zip(alone, together, strict=True):
        torch.testing.assert_close(one, many[1:2], rtol=1e-4, atol=1e-5)
