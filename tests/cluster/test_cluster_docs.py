"""The YAML of docs/cluster.md is what Ray and KubeRay take, as far as their schemas tell without a cloud."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import ray
import yaml

PAGE = (Path(__file__).parents[2] / "docs" / "cluster.md").read_text(encoding="utf-8")


def blocks(mark: str) -> list[dict[str, Any]]:
    found = re.findall(rf"^```yaml {mark}\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)
    return [yaml.safe_load(block) for block in found]


def closed(properties: dict[str, Any], *required: str) -> dict[str, Any]:
    """A schema of an object that has these fields and no others."""
    return {"type": "object", "properties": properties, "required": [*required], "additionalProperties": False}


TEXT, COUNT, FLAG = {"type": "string"}, {"type": "integer", "minimum": 0}, {"type": "boolean"}
ANY: dict[str, Any] = {}
QUANTITIES = {"type": "object", "additionalProperties": {"type": ["string", "integer"]}}
START = {"type": "object", "additionalProperties": TEXT}
CONTAINER = closed(
    {
        **dict.fromkeys(("command", "args", "env", "envFrom", "ports", "securityContext"), ANY),
        "name": TEXT,
        "image": TEXT,
        "imagePullPolicy": {"enum": ["Always", "IfNotPresent", "Never"]},
        "resources": closed({"limits": QUANTITIES, "requests": QUANTITIES}),
        "volumeMounts": {"type": "array", "items": closed({"name": TEXT, "mountPath": TEXT, "readOnly": FLAG}, "name")},
    },
    "name",
)
CLAIM = closed({"name": TEXT, "persistentVolumeClaim": closed({"claimName": TEXT, "readOnly": FLAG}, "claimName")})
POD = closed(
    {"containers": {"type": "array", "items": CONTAINER, "minItems": 1}, "volumes": {"type": "array", "items": CLAIM}},
    "containers",
)
TEMPLATE = closed({"metadata": ANY, "spec": POD}, "spec")

# The names and types of the fields are those of KubeRay's reference of its custom resources, version 1.6.2
# (`docs/reference/api.md`, made from `ray-operator/apis/ray/v1`); what older versions require is required.
CLUSTER = closed(
    {
        "rayVersion": TEXT,
        "authOptions": closed(
            {"mode": {"enum": ["disabled", "token"]}, "secretName": TEXT, "enableK8sTokenAuth": FLAG}
        ),
        "enableInTreeAutoscaling": FLAG,
        "autoscalerOptions": ANY,
        "suspend": FLAG,
        "headServiceAnnotations": ANY,
        "gcsFaultToleranceOptions": ANY,
        "headGroupSpec": closed(
            {"serviceType": TEXT, "headService": ANY, "rayStartParams": START, "template": TEMPLATE},
            "rayStartParams",
            "template",
        ),
        "workerGroupSpecs": {
            "type": "array",
            "items": closed(
                {
                    **dict.fromkeys(
                        ("replicas", "minReplicas", "maxReplicas", "numOfHosts", "idleTimeoutSeconds"), COUNT
                    ),
                    "groupName": TEXT,
                    "rayStartParams": START,
                    "template": TEMPLATE,
                },
                "groupName",
                "minReplicas",
                "maxReplicas",
                "rayStartParams",
                "template",
            ),
        },
    },
    "headGroupSpec",
)
JOB = closed(
    {
        **dict.fromkeys(("backoffLimit", "activeDeadlineSeconds", "ttlSecondsAfterFinished"), COUNT),
        **dict.fromkeys(("entrypoint", "runtimeEnvYAML", "jobId"), TEXT),
        "submissionMode": {"enum": ["K8sJobMode", "HTTPMode", "InteractiveMode", "SidecarMode"]},
        "shutdownAfterJobFinishes": FLAG,
        "rayClusterSpec": CLUSTER,
    },
    "entrypoint",
    "rayClusterSpec",
)


def resource(kind: str, spec: dict[str, Any]) -> dict[str, Any]:
    named = closed({"name": {"type": "string", "pattern": "^[a-z]([-a-z0-9]*[a-z0-9])?$"}, "namespace": TEXT}, "name")
    fields = {"apiVersion": {"const": "ray.io/v1"}, "kind": {"const": kind}, "metadata": named, "spec": spec}
    return closed(fields, *fields)


def test_ray_up_takes_the_example() -> None:
    (config,) = blocks("ray-up")
    schema = json.loads((Path(ray.__file__).parent / "autoscaler" / "ray-schema.json").read_text(encoding="utf-8"))
    jsonschema.validate(config, schema)
    from ray.autoscaler._private.util import validate_config

    # What `ray up` adds before it looks.
    validate_config({**config, "cluster_synced_files": []})
    assert f"ray:{ray.__version__}-py311" in config["docker"]["image"]
    starts = [*config["head_start_ray_commands"], *config["worker_start_ray_commands"]]
    assert all("RAY_AUTH_MODE=token" in command for command in starts if "ray start" in command)


def test_kuberay_takes_the_examples() -> None:
    found = blocks("kuberay")
    assert [row["kind"] for row in found] == ["RayCluster", "RayJob"]
    for row, spec in zip(found, (CLUSTER, JOB), strict=True):
        jsonschema.validate(row, resource(row["kind"], spec))
        cluster = row["spec"] if row["kind"] == "RayCluster" else row["spec"]["rayClusterSpec"]
        assert cluster["authOptions"] == {"mode": "token"} and cluster["rayVersion"] == ray.__version__
        for group in cluster["workerGroupSpecs"]:
            assert group["minReplicas"] <= group["replicas"] <= group["maxReplicas"]


def test_a_misspelt_field_is_noticed() -> None:
    (row, _) = blocks("kuberay")
    row["spec"]["workerGroupSpecs"][0]["maxReplica"] = 4
    with pytest.raises(jsonschema.ValidationError, match="maxReplica"):
        jsonschema.validate(row, resource("RayCluster", CLUSTER))


def test_the_job_s_command_is_one_that_the_shell_takes() -> None:
    import shlex

    from typer.testing import CliRunner

    from autosft.cli import app

    words = shlex.split(blocks("kuberay")[1]["spec"]["entrypoint"])
    assert words[:3] == ["python", "-m", "autosft"]
    options = {word for word in words if word.startswith("--")}
    told = CliRunner().invoke(app, [words[3], "--help"], env={"COLUMNS": "200", "NO_COLOR": "1"}).output
    assert all(option in told for option in options)
