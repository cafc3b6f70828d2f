"""The IAM policies: known to AWS, enough for what is done with them, and for nothing near it."""

import ast
import json
import re
import subprocess
from collections.abc import Callable, Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import botocore.session
import pytest
import yaml
from botocore import xform_name
from botocore.validate import ParamValidator
from policy_sentry.querying.actions import get_action_data
from ray.autoscaler._private.util import prepare_config, validate_config

Policy = dict[str, Any]
WORKER, HEAD, TRUST = "worker-policy.json", "head-policy.json", "ec2-trust.json"
FILLED = {
    "account": "123456789012",
    "region": "eu-central-1",
    "bucket": "kd-123456789012",
    "prefix": "sweeps",
    "subnet": "subnet-0123456789abcdef0",
    "group": "sg-0123456789abcdef0",
    "image": "ami-0123456789abcdef0",
    "mlflow": "10.0.0.10",
}
BUCKET, OBJECTS = f"arn:aws:s3:::{FILLED['bucket']}", f"arn:aws:s3:::{FILLED['bucket']}/sweeps"
EC2 = f"arn:aws:ec2:{FILLED['region']}:{FILLED['account']}"
ROLE = f"arn:aws:iam::{FILLED['account']}:role"


@pytest.fixture(scope="session")
def readme(root: Path) -> str:
    return (root / "infra/aws/README.md").read_text()


@pytest.fixture(scope="session")
def snippets(readme: str) -> str:
    return commands_in(readme)


@pytest.fixture(scope="session")
def snippets_of(readme: str) -> Callable[[str], str]:
    """The commands under a heading."""

    def under(heading: str) -> str:
        return commands_in(readme.partition(f"\n## {heading}\n")[2].partition("\n## ")[0])

    return under


def commands_in(text: str) -> str:
    return "\n".join(re.findall(r"```sh\n(.*?)```", text, re.S))


@pytest.fixture(scope="session")
def fill(root: Path, snippets: str) -> Callable[[str], str]:
    """Replaces the words in capitals of a file as the README does."""
    function = re.search(r"^fill\(\) \{.*?^\}", snippets, re.M | re.S)
    assert function is not None

    def run(path: str) -> str:
        script = f'set -eu\n{function[0]}\nfill "$1"'
        return subprocess.run(
            ["bash", "-c", script, "fill", str(root / path)],
            env=FILLED,
            capture_output=True,
            text=True,
            check=True,
        ).stdout

    return run


@pytest.fixture(scope="session")
def policy(fill: Callable[[str], str]) -> Callable[[str], Policy]:
    return lambda name: json.loads(fill(f"infra/aws/{name}"))


def listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


# Known to AWS: every action, what it is allowed on, and what it is conditional on.


def complaints(policy: Policy) -> list[str]:
    """Say what AWS, as policy_sentry knows it, does not know in a policy."""
    found = []
    for statement in policy["Statement"]:
        keys = [key for by_key in statement.get("Condition", {}).values() for key in by_key]
        for action in listed(statement["Action"]):
            service, _, name = action.partition(":")
            rows = (get_action_data(service, name) or {}).get(service, [])
            if not rows:
                found.append(f"{action} is no action")
            for arn in listed(statement["Resource"]):
                of_arn = [row for row in rows if fits(arn, row["resource_arn_format"])]
                if not of_arn:
                    found.append(f"{action} is not done to {arn}")
                known = {
                    re.sub(r"\$\{\w+\}$", "", key) for r in of_arn for key in r["condition_keys"]
                }
                found += [
                    f"{action} on {arn} knows no {key}"
                    for key in keys
                    if of_arn and key not in known and re.sub("/.*", "/", key) not in known
                ]
    return found


def fits(arn: str, shape: str) -> bool:
    """Return whether an ARN has the shape ``arn:${Partition}:s3:::${Bucket}/${Object}``."""
    if "*" in (arn, shape):
        return arn == shape
    # A resource's name ends where the next begins; only an object's may have slashes in it.
    parts = re.split(r"\$\{\w+\}", shape)
    names = [r"[^:/]*"] * (len(parts) - 1)
    names[-1] = r".+" if shape.endswith("${ObjectName}") else r"[^:/]+"
    pattern = "".join(
        re.escape(part) + name for part, name in zip(parts, [*names, ""], strict=True)
    )
    return re.fullmatch(pattern, arn) is not None


@pytest.mark.parametrize("name", [WORKER, HEAD])
def test_aws_knows_all_that_is_in_them(policy: Callable[[str], Policy], name: str) -> None:
    assert complaints(policy(name)) == []


@pytest.mark.parametrize(
    ("name", "number", "change", "complaint"),
    [
        (WORKER, 0, {"Action": "s3:ListBuckets"}, "is no action"),
        (WORKER, 0, {"Resource": f"{BUCKET}/*"}, "is not done to"),
        (WORKER, 1, {"Resource": BUCKET}, "is not done to"),
        (WORKER, 1, {"Condition": {"StringLike": {"s3:prefix": "x/*"}}}, "knows no s3:prefix"),
        (HEAD, 0, {"Resource": f"{EC2}:instance/*"}, "is not done to"),
        (HEAD, 1, {"Condition": {"Bool": {"ec2:Encrypted": "true"}}}, "knows no ec2:Encrypted"),
        (HEAD, 6, {"Resource": f"{ROLE.replace('role', 'user')}/x"}, "is not done to"),
    ],
)
def test_mistakes_are_found(
    policy: Callable[[str], Policy], name: str, number: int, change: Policy, complaint: str
) -> None:
    spoilt = policy(name)
    spoilt["Statement"][number] |= change
    assert complaint in " ".join(complaints(spoilt))


@pytest.mark.parametrize("name", [WORKER, HEAD])
def test_they_allow_named_actions_alone(policy: Callable[[str], Policy], name: str) -> None:
    for statement in policy(name)["Statement"]:
        assert statement["Effect"] == "Allow"
        assert not {"NotAction", "NotResource", "NotPrincipal", "Principal"} & set(statement)
        assert not any("*" in action for action in listed(statement["Action"]))
        if "*" in listed(statement["Resource"]):  # which AWS gives no other choice for
            assert statement["Action"] == "ec2:DescribeInstances"


def test_machines_take_the_roles_and_nobody_else(policy: Callable[[str], Policy]) -> None:
    assert policy(TRUST)["Statement"] == [
        {
            "Effect": "Allow",
            "Principal": {"Service": "ec2.amazonaws.com"},
            "Action": "sts:AssumeRole",
        }
    ]


# What they allow.

OPERATORS: Mapping[str, Callable[[str, str], bool]] = {
    "StringEquals": str.__eq__,
    "StringLike": fnmatchcase,
    "ArnEquals": fnmatchcase,
    "Bool": str.__eq__,
}


def allows(policy: Policy, action: str, resource: str, **context: str) -> bool:
    """Return whether IAM would; a condition on what the request does not have is not met."""
    return any(
        action in listed(statement["Action"])
        and any(fnmatchcase(resource, arn) for arn in listed(statement["Resource"]))
        and all(
            key in context and any(OPERATORS[operator](context[key], value) for value in listed(of))
            for operator, by_key in statement.get("Condition", {}).items()
            for key, of in by_key.items()
        )
        for statement in policy["Statement"]
    )


NEEDS: Mapping[str, Sequence[str]] = {
    "put_object": ["s3:PutObject"],
    "upload_fileobj": ["s3:PutObject", "s3:AbortMultipartUpload"],
    "get_object": ["s3:GetObject"],
    "head_object": ["s3:GetObject", "s3:ListBucket"],  # else what is not there is "forbidden"
    "delete_object": ["s3:DeleteObject"],
    "list_objects_v2": ["s3:ListBucket"],
}
"""The actions that calls of boto3's client need."""


def called_by_the_store(root: Path) -> set[str]:
    """Return the calls of boto3's client that the store makes."""
    calls = set()
    for node in ast.walk(ast.parse((root / "orchestrator/store/s3.py").read_text())):
        match node:
            case ast.Call(
                func=ast.Attribute(value=ast.Attribute(attr="_client"), attr="get_paginator"),
                args=[ast.Constant(value=str(name))],
            ):
                calls.add(name)
            case ast.Attribute(value=ast.Attribute(attr="_client"), attr=name):
                calls.add(name)
    return calls - {"get_paginator", "meta"}  # which ask the server nothing


def may(policy: Policy, action: str, bucket: str, key: str) -> bool:
    if action == "s3:ListBucket":
        return allows(policy, action, bucket, **{"s3:prefix": key})
    return allows(policy, action, f"{bucket}/{key}")


def test_workers_may_do_what_the_store_does(root: Path, policy: Callable[[str], Policy]) -> None:
    calls = called_by_the_store(root)
    assert calls == set(NEEDS), "say in NEEDS which actions a new call needs"
    used = {action for call in calls for action in NEEDS[call]}
    for action in used:
        assert may(policy(WORKER), action, BUCKET, "sweeps/store/manifests/0a")
    assert may(policy(WORKER), "s3:ListBucket", BUCKET, "sweeps/"), "all that is there"
    given = {a for statement in policy(WORKER)["Statement"] for a in listed(statement["Action"])}
    assert given == used, "and nothing that it does not"


@pytest.mark.parametrize(
    ("bucket", "key"),
    [
        (BUCKET, "others/0a"),
        (BUCKET, "sweeps-of-others/0a"),
        (BUCKET, ""),
        (f"{BUCKET}-of-others", "sweeps/0a"),
        ("arn:aws:s3:::others", "sweeps/0a"),
    ],
)
def test_workers_may_do_nothing_elsewhere(
    policy: Callable[[str], Policy], bucket: str, key: str
) -> None:
    for actions in NEEDS.values():
        assert not any(may(policy(WORKER), action, bucket, key) for action in actions)
    assert not allows(policy(WORKER), "s3:ListBucket", BUCKET), "of the whole bucket"


def launch(asked: Mapping[str, Any]) -> dict[str, dict[str, str]]:
    """Return what RunInstances touches, each with what IAM is told of it."""
    tags = {
        tag["Key"]: tag["Value"]
        for of in asked["TagSpecifications"]
        if of["ResourceType"] == "instance"
        for tag in of["Tags"]
    }
    profile = asked["IamInstanceProfile"]["Name"]
    instance = {
        **{f"aws:RequestTag/{key}": value for key, value in tags.items()},
        "ec2:InstanceType": asked["InstanceType"],
        "ec2:MetadataHttpTokens": asked["MetadataOptions"]["HttpTokens"],
        "ec2:InstanceProfile": f"arn:aws:iam::{FILLED['account']}:instance-profile/{profile}",
    }
    disk = {"ec2:Encrypted": str(asked["BlockDeviceMappings"][0]["Ebs"]["Encrypted"]).lower()}
    return {
        f"{EC2}:instance/*": instance,
        f"{EC2}:volume/*": disk,
        f"{EC2}:network-interface/*": {},
        f"{EC2}:key-pair/ray-autoscaler_{FILLED['region']}": {},  # as Ray names the one it makes
        f"arn:aws:ec2:{FILLED['region']}::image/{asked['ImageId']}": {},
        f"{EC2}:subnet/{asked['SubnetId']}": {},
        **{f"{EC2}:security-group/{group}": {} for group in asked["SecurityGroupIds"]},
    }


@pytest.fixture
def asked(
    asked_of_ec2: Callable[[str], dict[str, Any]], request: pytest.FixtureRequest
) -> dict[str, Any]:
    words = {"AMI_ID": "image", "SUBNET_ID": "subnet", "SECURITY_GROUP_ID": "group"}
    text = json.dumps(asked_of_ec2(request.param))
    for word, name in words.items():
        text = text.replace(word, FILLED[name])
    filled: dict[str, Any] = json.loads(text)
    return filled


def may_launch(policy: Policy, asked: Mapping[str, Any]) -> bool:
    return all(
        allows(policy, "ec2:RunInstances", resource, **context)
        for resource, context in launch(asked).items()
    )


@pytest.mark.parametrize("asked", ["spot", "on-demand"], indirect=True)
def test_the_head_may_start_what_ray_asks_for(
    policy: Callable[[str], Policy], asked: dict[str, Any]
) -> None:
    head = policy(HEAD)
    assert may_launch(head, asked)
    for kind in ("instance", "volume"):
        created = {"ec2:CreateAction": "RunInstances"}
        assert allows(head, "ec2:CreateTags", f"{EC2}:{kind}/i-1", **created)
    assert allows(head, "iam:PassRole", f"{ROLE}/kd-worker", **TO_MACHINES)


TO_MACHINES = {"iam:PassedToService": "ec2.amazonaws.com"}


@pytest.mark.parametrize("asked", ["spot"], indirect=True)
@pytest.mark.parametrize(
    "change",
    [
        {"InstanceType": "p5.48xlarge"},
        {"IamInstanceProfile": {"Name": "kd-head"}},
        {"MetadataOptions": {"HttpTokens": "optional"}},
        {"BlockDeviceMappings": [{"Ebs": {"Encrypted": False}}]},
        {"ImageId": "ami-0000000000000000"},
        {"SubnetId": "subnet-00000000000000000"},
        {"SecurityGroupIds": ["sg-00000000000000000"]},
        {"TagSpecifications": []},
    ],
)
def test_the_head_may_start_nothing_else(
    policy: Callable[[str], Policy], asked: dict[str, Any], change: dict[str, Any]
) -> None:
    assert not may_launch(policy(HEAD), asked | change)


def test_the_head_ends_and_tags_workers_of_its_cluster_alone(
    policy: Callable[[str], Policy], load: Callable[[str], Any]
) -> None:
    def tags(cluster: str, kind: str) -> dict[str, str]:
        names = {"ray-cluster-name": cluster, "ray-node-type": kind}
        return {f"aws:ResourceTag/{name}": value for name, value in names.items()}

    head, cluster = policy(HEAD), load("ray_cluster.yaml")["cluster_name"]
    for action in ("ec2:TerminateInstances", "ec2:CreateTags"):
        assert allows(head, action, f"{EC2}:instance/i-1", **tags(cluster, "worker"))
        assert not allows(head, action, f"{EC2}:instance/i-1", **tags(cluster, "head"))
        assert not allows(head, action, f"{EC2}:instance/i-1", **tags("other", "worker"))
        assert not allows(head, action, f"{EC2}:instance/i-1")
    assert not allows(head, "iam:PassRole", f"{ROLE}/kd-head", **TO_MACHINES)
    assert not allows(head, "iam:PassRole", f"{ROLE}/admin", **TO_MACHINES)


# The words in capitals, and the commands.

WORDS = [
    *("ACCOUNT", "REGION", "BUCKET", "PREFIX", "SUBNET_ID", "SECURITY_GROUP_ID", "AMI_ID"),
    "MLFLOW_ADDRESS",
]


def test_every_word_in_capitals_is_replaced(fill: Callable[[str], str]) -> None:
    for name in (WORKER, HEAD, TRUST):
        assert not re.search("|".join(WORDS), fill(f"infra/aws/{name}"))
    config = yaml.safe_load(fill("ray_cluster.yaml"))
    validate_config(prepare_config(config))
    assert not re.search("|".join(WORDS), json.dumps(config))


def test_every_word_in_capitals_is_explained_at_the_head(root: Path) -> None:
    text = (root / "ray_cluster.yaml").read_text()
    used = {word for word in WORDS if word in json.dumps(yaml.safe_load(text))}
    lines = text.partition("# Then,")[0].splitlines()
    explained = {word for word in WORDS for line in lines if re.match(rf"#   .*\b{word}\b", line)}
    assert used == explained


def test_shellcheck_finds_nothing_in_the_commands(snippets: str, lint: Callable[..., str]) -> None:
    assert snippets.count("aws ") > 10
    assert lint("shellcheck", "--shell=bash", text=snippets) == ""


def test_what_runs_on_another_machine_needs_nothing_of_this_one(
    snippets_of: Callable[[str], str], lint: Callable[..., str]
) -> None:
    assert "mlflow server" in snippets_of("MLflow")
    assert lint("shellcheck", "--shell=bash", text=snippets_of("MLflow")) == ""


@pytest.mark.parametrize(("of_subnet", "routes"), [("rtb-own", "rtb-own"), ("None", "rtb-main")])
def test_a_subnet_without_routes_of_its_own_has_those_of_its_network(
    snippets_of: Callable[[str], str], of_subnet: str, routes: str
) -> None:
    """The AWS CLI writes None for what a query does not find."""
    found = re.search(
        r"^routes=.*(?=^aws ec2 create-vpc-endpoint)", snippets_of("Network"), re.M | re.S
    )
    assert found is not None
    aws = """aws() {
      case "$*" in
        *Name=association.subnet-id,Values=subnet-1*) echo "$of_subnet" ;;
        *Name=vpc-id,Values=vpc-1*Name=association.main,Values=true*) echo rtb-main ;;
      esac
    }"""
    done = subprocess.run(
        ["bash", "-euc", f"{aws}\n{found[0]}\necho $routes"],
        env={"vpc": "vpc-1", "subnet": "subnet-1", "of_subnet": of_subnet},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == [routes]


OF_THE_CLI = {"query", "output", "protocol", "port", "cidr"}
"""Options that the AWS CLI has beside the parameters of the operations."""


def test_aws_knows_the_commands(snippets: str) -> None:
    """Operations and their parameters by boto3's models, from which the AWS CLI's are made too."""
    session = botocore.session.get_session()
    commands = re.split(r"\baws (?=[a-z0-9]+ [a-z-]+)", snippets)[1:]
    for command in commands:
        service, operation = command.split()[:2]
        model = session.get_service_model({"s3api": "s3"}.get(service, service))
        named = {xform_name(name, "-"): name for name in model.operation_names}
        assert operation in named, command
        shape = model.operation_model(named[operation]).input_shape
        parameters = {} if shape is None else {xform_name(n, "-"): n for n in shape.members}
        of_command = re.split(r"\n(?!  )", command)[0]
        options = re.findall(r"--([a-z-]+)(?:\s+\\\n)?\s+(?:'(\{.*?\})')?", of_command, re.S)
        assert options or operation == "get-caller-identity", command
        for option, value in options:
            assert option in {*parameters, *OF_THE_CLI}, command
            if value:
                of_option = shape.members[parameters[option]]
                report = ParamValidator().validate(json.loads(value), of_option)
                assert not report.has_errors(), report.generate_report()
