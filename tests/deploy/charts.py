"""Renders the chart with helm, which `.ci/helm` brings, and validates the result by Kubernetes' schemas."""

import json
import subprocess
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema_rs
import yaml

TOP = Path(__file__).parents[2]
CHART = TOP / "deploy" / "helm" / "siem"
HELM, KUBECTL = TOP / ".helm" / "helm", TOP / ".helm" / "kubectl"

Document = dict[str, Any]


def helm(*arguments: str, values: Mapping[str, Any] | None = None) -> "subprocess.CompletedProcess[str]":
    """Run helm with these values beside those of the chart."""
    given = ("--values", "-") if values is not None else ()
    return subprocess.run(
        [HELM, *arguments, *given],
        input=yaml.safe_dump(values) if values is not None else None,
        capture_output=True,
        text=True,
        check=False,
    )


def rendered(values: Mapping[str, Any] | None = None, *options: str, chart: Path = CHART) -> list[Document]:
    """Return every object of a release with these values."""
    done = helm("template", "siem", str(chart), *options, values=values or {})
    assert done.returncode == 0, done.stderr
    return [one for one in yaml.safe_load_all(done.stdout) if one]


def refusal(values: Mapping[str, Any]) -> str:
    """Return what helm says of values that the chart refuses."""
    done = helm("template", "siem", str(CHART), values=values)
    assert done.returncode != 0
    return done.stderr


def pods(documents: list[Document]) -> Iterator[tuple[Document, Document]]:
    """Yield every object that makes pods or is one, and the specification of these."""
    for one in documents:
        if one["kind"] in {"Deployment", "Job", "Pod"}:
            yield one, template(one)["spec"]


def template(document: Document) -> Document:
    """Return what the pods of an object are made from; of a pod, the pod."""
    return document if document["kind"] == "Pod" else dict(document["spec"]["template"])


def complaints(document: Document, release: str) -> list[str]:
    """Return what Kubernetes of this release would refuse of an object; fields that it does not know, too."""
    definitions, kinds = _schemas(release)
    kind = document["apiVersion"], document["kind"]
    validator = jsonschema_rs.validator_for({"$ref": f"#/$defs/{kinds[kind]}", "$defs": definitions})
    return [f"{one.instance_path}: {one.message}" for one in validator.iter_errors(document)]


@cache
def _schemas(release: str) -> tuple[dict[str, Any], dict[tuple[str, str], str]]:
    """Return all definitions, and the name of that of each kind."""
    definitions = json.loads((TOP / ".helm" / f"{release}.json").read_text())["$defs"]
    kinds = {
        ("/".join(filter(None, (kind["group"], kind["version"]))), kind["kind"]): name
        for name, definition in definitions.items()
        for kind in definition.get("x-kubernetes-group-version-kind", ())
    }
    return definitions, kinds
