"""The chart makes what Kubernetes takes, and runs the Procfile's processes with no more than they need."""

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.deploy.charts import (
    CHART,
    HELM,
    KUBECTL,
    Document,
    complaints,
    helm,
    pods,
    refusal,
    rendered,
    template,
)
from tests.procfile import lines
from worker import __version__
from worker.api.metric_definitions import METRICS
from worker.integrations import destination_types
from worker.settings import Settings

needs_helm = pytest.mark.skipif(not HELM.exists(), reason="helm is not here: .ci/helm brings it")

#: Settings that the chart makes of other values.
_OWN = {
    *("SIEM_API_HOST", "SIEM_API_PORT", "SIEM_API_TRUSTED_PROXIES", "SIEM_PROBE_HOST", "SIEM_PROBE_PORT"),
    *("SIEM_DATA_DIR", "SIEM_FLOWER_HOST", "SIEM_FLOWER_PORT", "SIEM_FLOWER_URL_PREFIX"),
}
_SELECTOR = {"app.kubernetes.io/name": "siem", "app.kubernetes.io/instance": "siem"}

EVERYTHING: Document = {
    "image": {"repository": "registry.example.com/siem", "digest": f"sha256:{'0' * 64}"},
    "imagePullSecrets": [{"name": "registry"}],
    "secrets": {
        "keys": {"healthWebhookUrl": "health_webhook_url"},
        "owner": {"existingSecret": "siem-owner"},
        "revision": "2",
    },
    "settings": {"SIEM_ALLOWED_NETWORKS": "10.2.0.0/16", "SIEM_SLOTS": 8},
    "api": {
        "trustedProxies": ["10.0.0.0/8"],
        "autoscaling": {"enabled": True},
        "nodeSelector": {"pool": "siem"},
    },
    "workers": {
        "splunk_hec": {"replicas": 0, "autoscaling": {"enabled": False}},
        "syslog_cef": {"terminationGracePeriodSeconds": 120},
        "webhook": {"autoscaling": {"oldestEventSeconds": 10}},
        "fourth_type": {},
        "several": {"queues": ["splunk_hec", "webhook"]},
    },
    "workerDefaults": {"autoscaling": {"enabled": True}, "priorityClassName": "high"},
    "flower": {"enabled": True, "urlPrefix": "flower"},
    "preflight": {"beforeInstall": True},
    "ingress": {
        "enabled": True,
        "className": "nginx",
        "host": "siem.example.com",
        "tlsSecret": "siem-tls",
        "annotations": {"nginx.ingress.kubernetes.io/proxy-body-size": "16m"},
    },
    "networkPolicy": {
        "enabled": True,
        "stores": [
            {"to": [{"ipBlock": {"cidr": "10.1.0.0/24"}}], "ports": [{"protocol": "TCP", "port": 6379}]}
        ],
        "collector": [
            {"to": [{"ipBlock": {"cidr": "10.3.0.9/32"}}], "ports": [{"protocol": "TCP", "port": 4318}]}
        ],
        "privateDestinations": ["10.2.0.0/16"],
    },
    "monitoring": {
        "fleet": "eu-1",
        "labels": {"release": "prometheus"},
        "serviceMonitor": {"enabled": True},
        "prometheusRule": {"enabled": True, "runbookUrl": "https://wiki.example.com/siem.md"},
        "prometheusUrl": "http://prometheus.monitoring:9090",
        "triggerAuthentication": "prometheus",
    },
    "podAnnotations": {"example.com/team": "security"},
    "extraVolumes": [{"name": "ca", "configMap": {"name": "ca"}}],
    "extraVolumeMounts": [{"name": "ca", "mountPath": "/etc/ssl/private-ca", "readOnly": True}],
}
MINIMAL: Document = {
    "podDisruptionBudget": {"enabled": False},
    "migration": {"enabled": False},
    "serviceAccount": {"create": False, "name": "default"},
    "secrets": {"keys": {"metricsToken": ""}},
    "workers": {"splunk_hec": None, "syslog_cef": None, "webhook": {"replicas": 1}},
}
#: Objects of KEDA and of the operator of Prometheus, which Kubernetes itself does not know.
_CUSTOM = {"ScaledObject", "ServiceMonitor", "PrometheusRule"}


@pytest.fixture(scope="module")
def defaults() -> list[Document]:
    """Give what the values of the chart alone make."""
    return rendered()


@pytest.fixture(scope="module")
def everything() -> list[Document]:
    """Give what is made with all of it on."""
    return rendered(EVERYTHING)


def named(documents: list[Document], kind: str, name: str) -> Document:
    """Return one object."""
    return next(one for one in documents if (one["kind"], one["metadata"]["name"]) == (kind, name))


def kinds(documents: list[Document]) -> set[str]:
    """Return which kinds of object there are."""
    return {one["kind"] for one in documents}


def secrets_of(document: Document) -> list[str]:
    """Return which settings a process reads from files of the secret."""
    env = template(document)["spec"]["containers"][0]["env"]
    return [one["name"] for one in env if one["name"].endswith("_FILE")]


def test_the_chart_is_of_this_release() -> None:
    """A chart installs the image of its release."""
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())

    assert (chart["version"], chart["appVersion"]) == (__version__, __version__)


def test_the_schema_knows_every_setting() -> None:
    """Those that are no secret, less those that the chart makes of other values; and no other."""
    schema = json.loads((CHART / "values.schema.json").read_text())
    secret = {name for name, one in Settings.model_fields.items() if "SecretStr" in str(one.annotation)}
    known = {f"SIEM_{name.upper()}" for name in Settings.model_fields if name not in secret}

    assert set(schema["properties"]["settings"]["properties"]) == known - _OWN


def test_every_value_is_described() -> None:
    """An editor shows it; and the values of the chart are those of the schema."""
    schema = json.loads((CHART / "values.schema.json").read_text())
    values = yaml.safe_load((CHART / "values.yaml").read_text())

    assert list(_undescribed(schema, "")) == []
    assert set(values) == set(schema["properties"]) - {"global"}


def _undescribed(schema: Any, path: str) -> Any:
    for name, one in schema.get("properties", {}).items():
        if not one.get("description"):
            yield f"{path}.{name}"
        yield from _undescribed(one, f"{path}.{name}")
        if (
            one.get("type") == "object"
            and one.get("properties")
            and one.get("additionalProperties") is not False
        ):
            yield f"{path}.{name} takes anything"


@needs_helm
def test_helm_finds_no_fault() -> None:
    """Neither with the values of the chart nor with everything on."""
    for values in ({}, EVERYTHING, MINIMAL):
        done = helm("lint", "--strict", str(CHART), values=values)
        assert done.returncode == 0, done.stdout


@needs_helm
@pytest.mark.parametrize("release", ["v1.27.0", "v1.37.0"])
def test_kubernetes_takes_what_is_made(
    defaults: list[Document], everything: list[Document], release: str
) -> None:
    """The oldest release that the chart is for, and the newest, without a field that these do not know."""
    found = {
        f"{one['kind']} {one['metadata']['name']}": complaints(one, release)
        for one in [*defaults, *everything, *rendered(MINIMAL)]
        if one["kind"] not in _CUSTOM
    }

    assert {name: what for name, what in found.items() if what} == {}


@needs_helm
def test_a_fault_would_be_found(defaults: list[Document]) -> None:
    """The schemas are applied."""
    broken = json.loads(json.dumps(named(defaults, "Deployment", "siem-api")))
    broken["spec"]["replica"] = 2

    assert complaints(broken, "v1.37.0") != []


@needs_helm
def test_the_processes_are_those_of_the_procfile(defaults: list[Document]) -> None:
    """A Deployment for each line, with its words."""
    found = {
        one["metadata"]["name"].removeprefix("siem-"): pod["containers"][0]["args"]
        for one, pod in pods(defaults)
        if one["kind"] == "Deployment"
    }

    assert found == {name.replace("_", "-"): shlex.split(line) for name, line in lines().items()}
    assert set(yaml.safe_load((CHART / "values.yaml").read_text())["workers"]) == set(destination_types())


@needs_helm
def test_another_type_is_a_value(everything: list[Document]) -> None:
    """So is a worker for several, and one that differs from the others."""
    fourth, several, splunk = (
        named(everything, "Deployment", f"siem-worker-{name}")
        for name in ("fourth-type", "several", "splunk-hec")
    )

    assert _queues(fourth) == "fourth_type"
    assert _queues(several) == "splunk_hec,webhook"
    assert splunk["spec"]["replicas"] == 0
    assert "replicas" not in fourth["spec"]
    assert [one["metadata"]["name"] for one in rendered(MINIMAL) if "worker" in one["metadata"]["name"]] == [
        "siem-worker-webhook"
    ]


def _queues(document: Document) -> str:
    args = document["spec"]["template"]["spec"]["containers"][0]["args"]
    return str(args[args.index("-Q") + 1])


@needs_helm
def test_every_variable_is_a_setting(everything: list[Document]) -> None:
    """Of the release; secrets come as files."""
    names = {env["name"] for _, pod in pods(everything) for env in pod["containers"][0]["env"]}
    known = {f"SIEM_{name.upper()}" for name in Settings.model_fields}
    secret = {name for name, one in Settings.model_fields.items() if "SecretStr" in str(one.annotation)}

    assert {one for one in names if not one.endswith("_FILE")} - known == set()
    assert {one for one in names if one.endswith("_FILE")} <= {f"SIEM_{name.upper()}_FILE" for name in secret}


@needs_helm
def test_each_process_gets_the_secrets_that_it_reads(everything: list[Document]) -> None:
    """A worker that is taken over knows no password of the database."""
    redis, database, keys = "SIEM_REDIS_URL_FILE", "SIEM_DATABASE_URL_FILE", "SIEM_SECRET_KEYS_FILE"
    expected = {
        "router": [redis],
        "recorder": [redis, database, keys, "SIEM_HEALTH_WEBHOOK_URL_FILE"],
        "worker-webhook": [redis, keys],
        "api": [redis, database, keys, "SIEM_METRICS_TOKEN_FILE"],
        "flower": [redis, "SIEM_FLOWER_BASIC_AUTH_FILE"],
    }
    migration = named(everything, "Job", "siem-migration")["spec"]["template"]["spec"]["volumes"][1]

    assert {
        name: secrets_of(named(everything, "Deployment", f"siem-{name}")) for name in expected
    } == expected
    assert migration["projected"]["sources"][1]["secret"]["name"] == "siem-owner"
    for _, pod in pods(everything):
        files = {env["value"] for env in pod["containers"][0]["env"] if env["name"].endswith("_FILE")}
        sources = next(one for one in pod["volumes"] if one["name"] == "secrets")["projected"]["sources"]
        assert {f"/run/secrets/siem/{one['secret']['items'][0]['path']}" for one in sources} >= files or (
            {f"/run/secrets/siem/{item['path']}" for one in sources for item in one["secret"]["items"]}
            == files
        )


@needs_helm
def test_every_pod_is_confined(everything: list[Document]) -> None:
    """No root, nothing to write to but /tmp, no rights, no token of Kubernetes, bounded memory."""
    for document, pod in pods(everything):
        name, container = document["metadata"]["name"], pod["containers"][0]
        security = container["securityContext"]
        assert pod["securityContext"]["runAsUser"] == 10001, name
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}, name
        assert security["runAsNonRoot"] is security["readOnlyRootFilesystem"] is True, name
        assert security["allowPrivilegeEscalation"] is False, name
        assert security["capabilities"] == {"drop": ["ALL"]}, name
        assert pod["automountServiceAccountToken"] is False, name
        assert container["resources"]["limits"]["memory"], name
        assert all(not one.get("hostPath") for one in pod["volumes"]), name


@needs_helm
def test_every_process_is_probed(everything: list[Document]) -> None:
    """By the port of the process itself; the API is ready apart from the fleet."""
    for document, pod in pods(everything):
        if document["kind"] != "Deployment":
            continue
        name, container = document["metadata"]["name"], pod["containers"][0]
        ports = {one["name"] for one in container["ports"]}
        probes = [container[one] for one in ("startupProbe", "livenessProbe", "readinessProbe")]
        assert {(one.get("httpGet") or one["tcpSocket"])["port"] for one in probes} <= ports, name
        if name == "siem-flower":
            continue
        assert probes[1]["httpGet"] == {"path": "/livez", "port": "probe"}, name
        # On a full node a start took more than two minutes, and a process that is ended then starts anew.
        assert probes[0]["periodSeconds"] * probes[0]["failureThreshold"] >= 300, name
        env = {one["name"]: one["value"] for one in container["env"]}
        assert (env["SIEM_PROBE_HOST"], env["SIEM_PROBE_PORT"]) == ("0.0.0.0", "8081"), name
        if name.startswith("siem-worker"):
            assert pod["terminationGracePeriodSeconds"] >= 90, name
    api = named(everything, "Deployment", "siem-api")["spec"]["template"]["spec"]["containers"][0]
    assert api["readinessProbe"]["httpGet"] == {"path": "/readyz/process", "port": "http"}


@needs_helm
def test_selectors_choose_the_pods_they_mean(everything: list[Document]) -> None:
    """Services, budgets, policies, topology and the ServiceMonitor; each chooses something."""
    labels = [template(one)["metadata"]["labels"] for one, _ in pods(everything)]
    selectors = []
    for one in everything:
        spec = one.get("spec", {})
        match one["kind"]:
            case "Deployment":
                own = spec["template"]["metadata"]["labels"]
                assert spec["selector"]["matchLabels"].items() <= own.items()
                for spread in spec["template"]["spec"].get("topologySpreadConstraints", ()):
                    assert spread["labelSelector"] == spec["selector"]
            case "Service":
                selectors.append(spec["selector"])
            case "PodDisruptionBudget":
                selectors.append(spec["selector"]["matchLabels"])
            case "NetworkPolicy":
                selectors.append(spec["podSelector"]["matchLabels"])
    services = [one["metadata"]["labels"] for one in everything if one["kind"] == "Service"]
    monitor = named(everything, "ServiceMonitor", "siem")["spec"]["selector"]["matchLabels"]

    assert len(selectors) > 10
    assert [one for one in selectors if not any(one.items() <= label.items() for label in labels)] == []
    assert [one for one in selectors if not _SELECTOR.items() <= one.items()] == []
    assert len([one for one in services if monitor.items() <= one.items()]) == 1


@needs_helm
def test_the_internet_is_open_to_those_who_need_it(everything: list[Document]) -> None:
    """Workers and the API, which tests destinations; the recorder for its webhook; no private network."""
    open_to = {
        one["metadata"]["name"]
        for one, _ in pods(everything)
        if "siem/internet" in template(one)["metadata"]["labels"]
    }
    peers = named(everything, "NetworkPolicy", "siem-internet")["spec"]["egress"]
    without_webhook = {
        one["metadata"]["name"]
        for one, _ in pods(rendered())
        if "siem/internet" in template(one)["metadata"]["labels"]
    }

    assert {one for one in open_to if "worker" not in one} == {"siem-api", "siem-recorder"}
    assert "siem-recorder" not in without_webhook
    assert {"10.0.0.0/8", "169.254.0.0/16"} <= set(peers[0]["to"][0]["ipBlock"]["except"])
    assert peers[1]["to"] == [{"ipBlock": {"cidr": "10.2.0.0/16"}}]


@needs_helm
def test_the_collector_is_open_to_those_who_make_spans(everything: list[Document]) -> None:
    """Routers, workers of any type and the API; only where one is named."""
    spec = named(everything, "NetworkPolicy", "siem-collector")["spec"]
    [unless] = spec["podSelector"]["matchExpressions"]
    chosen = {
        component
        for one, _ in pods(everything)
        if (component := template(one)["metadata"]["labels"]["app.kubernetes.io/component"])
        not in unless["values"]
    }
    closed = rendered({"networkPolicy": {"enabled": True, "stores": EVERYTHING["networkPolicy"]["stores"]}})

    assert (unless["key"], unless["operator"]) == ("app.kubernetes.io/component", "NotIn")
    assert {one for one in chosen if "worker" not in one} == {"api", "router"}
    assert any("fourth" in one for one in chosen)
    assert spec["egress"] == EVERYTHING["networkPolicy"]["collector"]
    assert not [one for one in closed if one["metadata"]["name"] == "siem-collector"]


@needs_helm
def test_workers_scale_by_the_age_of_the_oldest_event(everything: list[Document]) -> None:
    """By metrics and labels that exist, for the types that the worker serves."""
    scaled = [one for one in everything if one["kind"] == "ScaledObject"]
    several = named(everything, "ScaledObject", "siem-worker-several")["spec"]
    trigger = several["triggers"][0]
    names = {one.name for one in METRICS.all}

    assert {one["metadata"]["name"] for one in scaled} == {
        *("siem-worker-syslog-cef", "siem-worker-webhook", "siem-worker-fourth-type", "siem-worker-several")
    }
    for one in scaled:
        assert named(everything, "Deployment", one["spec"]["scaleTargetRef"]["name"])
        assert set(re.findall(r"siem_\w+", one["spec"]["triggers"][0]["metadata"]["query"])) <= names
    assert (
        'siem_integration_oldest_event_seconds{fleet="eu-1",type=~"splunk_hec|webhook"}'
        in (trigger["metadata"]["query"])
    )
    assert (trigger["type"], trigger["metricType"]) == ("prometheus", "Value")
    assert trigger["metadata"]["serverAddress"] == "http://prometheus.monitoring:9090"
    assert (
        named(everything, "ScaledObject", "siem-worker-webhook")["spec"]["triggers"][0]["metadata"][
            "threshold"
        ]
        == "10"
    )


@needs_helm
def test_the_alerts_are_those_of_prometheus(everything: list[Document], tmp_path: Path) -> None:
    """Every group of deploy/prometheus/rules, with this installation's runbooks; in a package as well."""
    files = sorted((CHART.parents[1] / "prometheus" / "rules").glob("*.yml"))
    wanted = [group for one in files for group in yaml.safe_load(one.read_text())["groups"]]
    placeholder = "https://runbooks.example.com/runbooks.md"
    done = helm("package", str(CHART), "--destination", str(tmp_path))
    archive = next(tmp_path.glob("*.tgz"))
    packaged = rendered({"monitoring": {"prometheusRule": {"enabled": True}}}, chart=archive)
    made = named(everything, "PrometheusRule", "siem")["spec"]["groups"]

    assert done.returncode == 0, done.stderr
    assert wanted != []
    assert named(packaged, "PrometheusRule", "siem")["spec"]["groups"] == wanted
    assert made == json.loads(json.dumps(wanted).replace(placeholder, "https://wiki.example.com/siem.md"))


@needs_helm
def test_the_tables_are_upgraded_before_the_processes(everything: list[Document]) -> None:
    """A hook, with the role that owns the tables; then the checks; `helm test` makes them as well."""
    hooks = {
        one["metadata"]["name"]: one["metadata"]["annotations"]
        for one, _ in pods(everything)
        if one["kind"] != "Deployment"
    }
    migration, preflight = hooks["siem-migration"], hooks["siem-preflight"]

    assert migration["helm.sh/hook"] == preflight["helm.sh/hook"] == "pre-install,pre-upgrade"
    assert int(migration["helm.sh/hook-weight"]) < int(preflight["helm.sh/hook-weight"])
    assert hooks["siem-test"]["helm.sh/hook"] == "test"
    # `helm test --logs` shows the log of the pod that has the hook's name, and fails where the hook is a Job.
    assert named(everything, "Pod", "siem-test")["spec"]["restartPolicy"] == "Never"
    assert kinds(rendered(MINIMAL)) == {"Deployment", "Pod", "Service"}


@needs_helm
def test_the_values_and_commands_of_the_guide_are_taken() -> None:
    """Each `helm upgrade` as it stands there, rendered with the values that the guide gives."""
    guide = (CHART.parents[1] / "guides" / "kubernetes.md").read_text()
    values = [yaml.safe_load(one) for one in re.findall(r"```yaml\n(.*?)```", guide, re.DOTALL)]
    found = re.findall(r"^helm (?:upgrade|lint) (.*)$", guide, re.MULTILINE)
    options = [re.findall(r"--set(?:-string)? \S+", one) for one in found]

    assert len(values) == 2
    assert len(found) == 5
    for given in (values[0], values[0] | values[1]):
        assert kinds(rendered(given)) >= {"Deployment", "Ingress"}
    for one in options:
        assert rendered(values[0], *" ".join(one).split())


@needs_helm
def test_the_secret_of_the_guide_is_the_one_that_the_chart_reads(tmp_path: Path) -> None:
    """Its commands make every key that the values name, but for those of what is off."""
    guide = (CHART.parents[1] / "guides" / "kubernetes.md").read_text()
    script = re.search(r"^(umask .*?)kubectl --namespace", guide, re.DOTALL | re.MULTILINE)
    assert script is not None
    programs = f"{KUBECTL.parent}:{Path(sys.executable).parent}:{os.environ['PATH']}"
    subprocess.run(["/bin/bash", "-ec", script[1]], cwd=tmp_path, env={"PATH": programs}, check=True)
    made = set(yaml.safe_load((tmp_path / "secret.yaml").read_text())["data"])
    read = {
        item["key"]
        for _, pod in pods(rendered())
        for volume in pod["volumes"]
        if volume["name"] == "secrets"
        for source in volume["projected"]["sources"]
        for item in source["secret"]["items"]
    }

    assert made == read


@needs_helm
def test_wrong_values_are_refused_with_a_reason(subtests: pytest.Subtests) -> None:
    """The message names the value."""
    for values, words in (
        ({"replicas": 3}, "replicas"),
        ({"router": {"replicas": -1}}, "/router/replicas"),
        ({"workers": {"Webhook": {}}}, "Webhook"),
        ({"workers": {"webhook": {"replica": 1}}}, "replica"),
        ({"workerDefaults": {"terminationGracePeriodSeconds": 30}}, "terminationGracePeriodSeconds"),
        ({"workerDefaults": {"resources": {"limits": {"cpu": 1, "memory": None}}}}, "memory"),
        ({"settings": {"SIEM_SLOT": 4}}, "SIEM_SLOT"),
        ({"settings": {"SIEM_REDIS_URL": "redis://:password@redis/0"}}, "SIEM_REDIS_URL"),
        ({"secrets": {"existingSecret": ""}}, "existingSecret"),
        ({"ingress": {"enabled": True, "host": "siem.example.com"}}, "tlsSecret"),
        ({"networkPolicy": {"enabled": True}}, "stores"),
        ({"workerDefaults": {"autoscaling": {"enabled": True}}}, "monitoring.prometheusUrl"),
        ({"image": {"digest": "latest"}}, "/image/digest"),
    ):
        with subtests.test(values=values):
            assert words in refusal(values)
