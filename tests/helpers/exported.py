"""A package as kd download makes it: an untrained encoder of digits with a calibrated score."""

from pathlib import Path

import torch
from packages import measured

from kd_models.data import LoadOptions, OneClassData, load, one_class
from kd_models.methods.ganomaly.networks import NetworkConfig
from kd_models.methods.pkdgan.scores import CalibratedNetwork, GanDetector
from kd_models.methods.prototypes import PrototypeSettings
from kd_models.package import Package, PackageConfig, Preprocessing


def digits(normal_class: str = "0") -> OneClassData:
    """scikit-learn's digits with one class as the normal one."""
    images = load("digits", Path(), LoadOptions(classes=(normal_class,)))
    return one_class(images, normal_class, image_size=32, channels=1)


def fitted_package(data: OneClassData) -> Package:
    """A 1-2-4 student's package, fitted to the training images."""
    detector = GanDetector(
        network=NetworkConfig(channels=1, widths=(1, 2, 4)), calibration=PrototypeSettings()
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        scorer = detector.scorer().eval()
    network = scorer.student
    assert isinstance(network, CalibratedNetwork)
    with torch.no_grad():
        network.fit(network.features(data.train))
        threshold = float(scorer(data.test[~data.novel]).median())
    config = PackageConfig(
        axes={"structure": "alone"},
        dataset="digits",
        normal_class=data.normal_class,
        normal_class_name=data.normal_class,
        seed=0,
        stage_key="0123",
        fingerprint=data.fingerprint,
        detector=detector,
        preprocessing=Preprocessing(image_size=32, channels=1),
        threshold=threshold,
        measured=measured(),
    )
    return Package(config, network.state_dict())
