"""ray_cluster.yaml: what `ray up` makes of it, as far as that is known without an AWS account."""

import copy
import os
import re
import shlex
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import botocore.session
import jsonschema
import pytest
from botocore.validate import ParamValidator
from ray.autoscaler._private.util import prepare_config, validate_config
from ray.autoscaler.v2.instance_manager.config import AutoscalingConfig
from ray.autoscaler.v2.instance_manager.subscribers.cloud_resource_monitor import (
    CloudResourceMonitor,
)
from ray.autoscaler.v2.scheduler import ResourceDemandScheduler, SchedulingRequest
from ray.autoscaler.v2.utils import ResourceRequestUtil
from ray.core.generated.autoscaler_pb2 import GangResourceRequest
from ray.core.generated.instance_manager_pb2 import Instance, InstanceUpdateEvent
from ray.scripts.scripts import start, stop

Config = dict[str, Any]
COMMANDS = ("setup_commands", "head_start_ray_commands", "worker_start_ray_commands")


@pytest.fixture
def config(load: Callable[[str], Any]) -> Config:
    loaded: Config = load("ray_cluster.yaml")
    return loaded


@pytest.fixture
def node_types(config: Config) -> dict[str, Config]:
    types: dict[str, Config] = config["available_node_types"]
    return types


def test_ray_accepts_it(config: Config) -> None:
    prepared = prepare_config(config)
    validate_config(prepared)
    # Ray's own defaults are not in it: they would install another Ray.
    for name in COMMANDS:
        assert prepared[name] == config[name]
    assert prepared["head_setup_commands"] == config["setup_commands"]
    assert prepared["worker_setup_commands"] == config["setup_commands"]


@pytest.mark.parametrize(
    "path",
    [
        ("cluster_names",),
        ("auth", "ssh_usr"),
        ("available_node_types", "spot", "min_worker"),
        ("available_node_types", "spot", "priorities"),
    ],
)
def test_ray_refuses_what_is_misspelt(config: Config, path: tuple[str, ...]) -> None:
    within = config
    for name in path[:-1]:
        within = within[name]
    within[path[-1]] = 1
    with pytest.raises(jsonschema.ValidationError):
        validate_config(prepare_config(config))


def test_the_head_trains_nothing_and_nobody_comes_unasked(
    config: Config, node_types: dict[str, Config]
) -> None:
    head = node_types[config["head_node_type"]]
    assert head["resources"] == {"CPU": 0}
    assert head["node_config"]["InstanceType"].startswith("m"), "a machine without a GPU"
    assert head["max_workers"] == 0
    assert {name: of["min_workers"] for name, of in node_types.items()} == dict.fromkeys(
        node_types, 0
    )
    assert 0 < config["idle_timeout_minutes"] <= 15
    workers = [of for name, of in node_types.items() if name != config["head_node_type"]]
    assert sum(of["max_workers"] for of in workers) == config["max_workers"]


def test_spot_and_on_demand_differ_in_nothing_else(node_types: dict[str, Config]) -> None:
    spot, on_demand = node_types["spot"], node_types["on-demand"]
    market = spot["node_config"].pop("InstanceMarketOptions")
    assert market == {"MarketType": "spot"}
    assert spot["node_config"] == on_demand["node_config"]
    assert spot["resources"] == on_demand["resources"]
    assert spot["resources"]["GPU"] == 1
    assert spot["priority"] > on_demand["priority"]


def test_machines_are_closed(node_types: dict[str, Config]) -> None:
    for of in node_types.values():
        node = of["node_config"]
        metadata = {"HttpEndpoint": "enabled", "HttpTokens": "required"}
        assert node["MetadataOptions"] == {**metadata, "HttpPutResponseHopLimit": 1}
        for disk in node["BlockDeviceMappings"]:
            assert disk["Ebs"]["Encrypted"] is True
            assert disk["Ebs"]["VolumeType"] == "gp3"
        # Where Ray chooses, its security group is open to the world and its role may do anything.
        assert node["SecurityGroupIds"]
        assert node["SubnetIds"]
        assert {tags["ResourceType"] for tags in node["TagSpecifications"]} == {
            "instance",
            "volume",
        }
    profiles = {name: of["node_config"]["IamInstanceProfile"] for name, of in node_types.items()}
    assert profiles["head"] == {"Name": "kd-head"}
    assert profiles["spot"] == profiles["on-demand"] == {"Name": "kd-worker"}


def test_it_holds_no_credentials(root: Path) -> None:
    text = (root / "ray_cluster.yaml").read_text()
    assert not re.search(r"AKIA|ASIA|aws_credentials|secret_access|SECRET_ACCESS", text)
    assert not re.search(r"RAY_AUTH_TOKEN=", text), "the token travels as a file"


@pytest.mark.parametrize("name", ["spot", "on-demand"])
def test_ec2_knows_all_that_ray_asks_it_for(
    asked_of_ec2: Callable[[str], Config], name: str
) -> None:
    asked = asked_of_ec2(name)
    shape = botocore.session.get_session().get_service_model("ec2")
    report = ParamValidator().validate(asked, shape.operation_model("RunInstances").input_shape)
    assert not report.has_errors(), report.generate_report()
    assert report is not None
    asked["MetadataOption"] = {}
    assert (
        ParamValidator()
        .validate(asked, shape.operation_model("RunInstances").input_shape)
        .has_errors()
    )


# How Ray chooses between spot and on-demand, by its own scheduler: what the head of the file says.


def launched(
    config: Config, machines: int, monitor: CloudResourceMonitor | None = None
) -> Mapping[str, int]:
    """Return what Ray starts when a sweep asks for so many workers with a GPU each."""
    monitor = monitor or CloudResourceMonitor()
    autoscaling = AutoscalingConfig(copy.deepcopy(config), skip_content_hash=True)
    worker = ResourceRequestUtil.make({"CPU": 1, "GPU": 1}, [])
    reply = ResourceDemandScheduler().schedule(
        SchedulingRequest(
            disable_launch_config_check=True,
            node_type_configs=autoscaling.get_node_type_configs(),
            max_num_nodes=autoscaling.get_max_num_nodes(),
            gang_resource_requests=[GangResourceRequest(requests=[worker])] * machines,
            cloud_resource_availabilities=monitor.get_resource_availabilities(),
            recoverable_resource_availabilities=monitor.get_recoverable_resource_availabilities(),
        )
    )
    return {launch.instance_type: launch.count for launch in reply.to_launch}


def test_spot_comes_first_and_on_demand_when_spot_has_all_it_may(config: Config) -> None:
    assert launched(config, 1) == {"spot": 1}
    assert launched(config, 8) == {"spot": 8}
    assert launched(config, 10) == {"spot": 8, "on-demand": 2}


def test_of_a_request_for_more_than_there_may_be_the_rest_is_fulfilled(config: Config) -> None:
    assert launched(config, 100) == {"spot": 8, "on-demand": 2}


def test_spot_that_ec2_refuses_is_asked_for_again(config: Config) -> None:
    monitor = CloudResourceMonitor()  # what Ray remembers of failures
    refused = Instance.ALLOCATION_FAILED
    monitor.notify([InstanceUpdateEvent(instance_type="spot", new_instance_status=refused)])
    assert launched(config, 1, monitor) == {"spot": 1}


def test_max_workers_may_move_to_on_demand(config: Config) -> None:
    config["available_node_types"]["spot"]["max_workers"] = 0
    config["available_node_types"]["on-demand"]["max_workers"] = 10
    validate_config(prepare_config(config))
    assert launched(config, 10) == {"on-demand": 10}


# The commands.


def test_shellcheck_finds_nothing_in_the_commands(config: Config, lint: Callable[..., str]) -> None:
    for name in COMMANDS:
        for command in config[name]:
            assert not lint("shellcheck", "--shell=bash", text=command), command
    assert lint("shellcheck", "--shell=bash", text="rm $1")


def test_ray_knows_the_options_of_the_start_commands(config: Config) -> None:
    for name in ("head_start_ray_commands", "worker_start_ray_commands"):
        first, second = config[name]
        assert stop.make_context("stop", shlex.split(first)[2:])
        arguments = shlex.split(second.partition("ray start")[2])
        options = start.make_context("start", arguments).params
        assert options["head"] == (name == "head_start_ray_commands")
        port = options["port"] if options["head"] else int(options["address"].rpartition(":")[2])
        assert port == 6379
        assert (options["autoscaling_config"] is not None) == options["head"]
        assert options["dashboard_host"] == "127.0.0.1", "the dashboard is reached through SSH"


def test_every_shell_of_a_machine_has_the_environment(config: Config, tmp_path: Path) -> None:
    writing = [command for command in config["setup_commands"] if "kd-environment" in command]
    assert len(writing) == 2
    (tmp_path / ".bashrc").touch()
    environment = {"HOME": str(tmp_path), "PATH": os.environ["PATH"]}
    for command in writing * 2:  # as Ray runs them: again when the cluster is updated
        subprocess.run(["bash", "-c", command], env=environment, check=True)
    assert (tmp_path / ".bashrc").read_text() == ". ~/kd-environment\n"
    done = subprocess.run(
        ["bash", "-c", ". ~/.bashrc; env"], env=environment, check=True, capture_output=True
    )
    found = dict(line.split("=", 1) for line in done.stdout.decode().splitlines())
    assert found["KD_HOME"] == "s3://BUCKET/PREFIX"
    assert found["MLFLOW_TRACKING_URI"] == "http://MLFLOW_ADDRESS:5000"
    assert found["AWS_DEFAULT_REGION"] == config["provider"]["region"]
    assert found["RAY_AUTH_MODE"] == "token"
    assert found["PATH"].split(":")[0] == str(tmp_path / "kd/bin")


def test_what_is_mounted_is_there(config: Config, root: Path) -> None:
    mounts = config["file_mounts"]
    assert mounts.pop("~/.ray/auth_token") == "~/.ray/auth_token", "where Ray looks for it"
    assert mounts == {"~/requirements.txt": "requirements.txt"}
    assert (root / "requirements.txt").is_file()
    assert any("-r ~/requirements.txt" in command for command in config["setup_commands"])
