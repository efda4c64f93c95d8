"""The cluster recipes fit their schemas, and Ray's autoscaler reads from them what they are meant to say."""

from __future__ import annotations

import copy
import json
import re
import shlex
from pathlib import Path
from typing import Any

import pytest

from singletrack.cli.bulk import run

yaml = pytest.importorskip("yaml")
jsonschema = pytest.importorskip("jsonschema")
pytest.importorskip("ray", reason='needs Ray, which is not installed: pip install "singletrack[ray]"')

FOLDER = Path(__file__).parents[2] / "examples" / "cluster"
TEXTS = {"type": "object", "additionalProperties": {"type": "string"}}


def fields(required: str = "", **properties: Any) -> dict[str, Any]:
    """An object with these fields and no others."""
    kinds = {"str": {"type": "string"}, "int": {"type": "integer"}, "bool": {"type": "boolean"}, "any": {}}
    return {
        "type": "object",
        "additionalProperties": False,
        "required": required.split(),
        "properties": {
            name: kinds.get(kind, kind) if isinstance(kind, str) else kind for name, kind in properties.items()
        },
    }


def many(kind: dict[str, Any]) -> dict[str, Any]:
    return {"type": "array", "items": kind, "minItems": 1}


# The fields of ray.io/v1 as its API reference lists them, and of a Pod those that a recipe may need.
AMOUNTS = fields(requests=TEXTS, limits=TEXTS)
CONTAINER = fields(
    "name image resources",
    name="str",
    image="str",
    imagePullPolicy={"enum": ["Always", "IfNotPresent", "Never"]},
    command=many({"type": "string"}),
    args=many({"type": "string"}),
    env=many(fields("name", name="str", value="str", valueFrom="any")),
    envFrom=many(fields(secretRef=fields("name", name="str"), configMapRef=fields("name", name="str"))),
    resources=AMOUNTS,
    volumeMounts=many(fields("name mountPath", name="str", mountPath="str", readOnly="bool")),
)
TOLERATION = fields(
    key="str",
    operator={"enum": ["Exists", "Equal"]},
    value="str",
    effect={"enum": ["NoSchedule", "PreferNoSchedule", "NoExecute"]},
)
POD = fields(
    "spec",
    metadata=fields(labels=TEXTS, annotations=TEXTS),
    spec=fields(
        "containers",
        containers=many(CONTAINER),
        serviceAccountName="str",
        nodeSelector=TEXTS,
        tolerations=many(TOLERATION),
        volumes=many(fields("name", name="str", emptyDir=fields(medium="str", sizeLimit="str"))),
    ),
)
GROUP = fields(
    "groupName template maxReplicas minReplicas",
    groupName="str",
    replicas="int",
    minReplicas="int",
    maxReplicas="int",
    idleTimeoutSeconds="int",
    numOfHosts="int",
    suspend="bool",
    rayStartParams=TEXTS,
    template=POD,
)
CLUSTER = fields(
    "headGroupSpec rayVersion workerGroupSpecs",
    suspend="bool",
    managedBy="str",
    autoscalerOptions=fields(
        resources=AMOUNTS,
        image="str",
        idleTimeoutSeconds="int",
        upscalingMode={"enum": ["Default", "Aggressive", "Conservative"]},
        version={"enum": ["v1", "v2"]},
    ),
    headServiceAnnotations=TEXTS,
    enableInTreeAutoscaling="bool",
    gcsFaultToleranceOptions="any",
    headGroupSpec=fields(
        "template",
        template=POD,
        headService="any",
        enableIngress="bool",
        rayStartParams=TEXTS,
        serviceType={"enum": ["ClusterIP", "NodePort", "LoadBalancer"]},
    ),
    rayVersion="str",
    workerGroupSpecs=many(GROUP),
)
RAY_JOB = fields(
    "apiVersion kind metadata spec",
    apiVersion={"const": "ray.io/v1"},
    kind={"const": "RayJob"},
    metadata=fields("name", name="str", namespace="str", labels=TEXTS),
    spec=fields(
        "entrypoint rayClusterSpec",
        activeDeadlineSeconds="int",
        backoffLimit="int",
        rayClusterSpec=CLUSTER,
        entrypoint="str",
        runtimeEnvYAML="str",
        jobId="str",
        submissionMode={"enum": ["K8sJobMode", "HTTPMode", "InteractiveMode"]},
        ttlSecondsAfterFinished="int",
        shutdownAfterJobFinishes="bool",
        suspend="bool",
    ),
)


def read(name: str) -> Any:
    return yaml.safe_load((FOLDER / name).read_text())


def test_the_kuberay_manifest_fits_its_schema() -> None:
    manifest = read("kuberay.yaml")
    jsonschema.validate(manifest, RAY_JOB)
    for path in (("spec", "rayClusterSpec"), ("spec", "rayClusterSpec", "headGroupSpec"), ("metadata",)):
        wrong: Any = copy.deepcopy(manifest)
        inner = wrong
        for name in path:
            inner = inner[name]
        inner["workers"] = 3
        with pytest.raises(jsonschema.ValidationError, match="'workers' was unexpected"):
            jsonschema.validate(wrong, RAY_JOB)


def test_the_autoscaler_reads_the_kuberay_manifest() -> None:
    from ray.autoscaler._private.kuberay.autoscaling_config import _derive_autoscaling_config_from_ray_cr
    from ray.autoscaler._private.util import validate_config

    spec = read("kuberay.yaml")["spec"]["rayClusterSpec"]
    cluster = {"metadata": {"name": "singletrack", "namespace": "default"}, "spec": spec}
    config = _derive_autoscaling_config_from_ray_cr(cluster)
    validate_config(config)
    workers = config["available_node_types"]["cpu"]
    assert workers["resources"]["CPU"] == 16
    assert (workers["min_workers"], workers["max_workers"]) == (1, 60)
    assert config["available_node_types"][config["head_node_type"]]["resources"]["CPU"] == 0


def test_the_ray_up_file_fits_its_schema() -> None:
    import ray

    schema = json.loads((Path(ray.__file__).parent / "autoscaler" / "ray-schema.json").read_text())
    config = read("ray-up.yaml")
    jsonschema.validate(config, schema)
    assert config["available_node_types"][config["head_node_type"]]["resources"] == {"CPU": 0}
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({**config, "workers": 3}, schema)


@pytest.mark.parametrize("name", ["kuberay.yaml", "ray-up.yaml"])
def test_the_commands_of_the_recipes_can_be_parsed(name: str) -> None:
    text = re.sub(r"\s+", " ", (FOLDER / name).read_text())
    found = re.findall(r"singletrack bulk (s3://.*?) (?:backoffLimit|#)", text)
    for command in found:
        arguments = shlex.split(command.replace("...", "s3://BUCKET/boxes"))
        context = run.make_context("run", arguments)
        assert context.params["cluster"] == "auto"
    assert found


def test_both_name_the_ray_of_the_image() -> None:
    (version,) = re.findall(r"rayproject/ray:([\d.]+)-", (FOLDER / "Dockerfile").read_text())
    assert read("kuberay.yaml")["spec"]["rayClusterSpec"]["rayVersion"] == version
