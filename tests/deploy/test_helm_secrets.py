"""Where helm asks a cluster, the chart says at once which Secret or key is missing."""

import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import pytest

from tests.deploy.charts import CHART, HELM, helm

pytestmark = pytest.mark.skipif(not HELM.exists(), reason="helm is not here: .ci/helm brings it")

#: The kinds of object that the defaults of the chart make, and that it looks up; by group.
_KINDS = {
    "": ("Pod", "Secret", "Service", "ServiceAccount"),
    "apps": ("Deployment",),
    "batch": ("Job",),
    "policy": ("PodDisruptionBudget",),
}
_KEYS = ("redis_url", "database_url", "secret_keys", "metrics_token", "database_owner_url")


def answers(secrets: Mapping[str, tuple[str, ...]]) -> dict[str, Any]:
    """Return what Kubernetes answers to all that helm asks before it would install."""
    items = [
        {"metadata": {"name": name, "namespace": "siem"}, "data": dict.fromkeys(keys, "eA==")}
        for name, keys in secrets.items()
    ]
    versions = {group: f"{group}/v1" for group in _KINDS if group}
    return {
        "/version": {"major": "1", "minor": "36", "gitVersion": "v1.36.2"},
        "/api": {"kind": "APIVersions", "versions": ["v1"]},
        "/apis": {
            "kind": "APIGroupList",
            "apiVersion": "v1",
            "groups": [
                {"name": group, "versions": [{"groupVersion": one, "version": "v1"}]}
                for group, one in versions.items()
            ],
        },
        "/api/v1": _resources("v1", _KINDS[""]),
        **{f"/apis/{one}": _resources(one, _KINDS[group]) for group, one in versions.items()},
        "/api/v1/namespaces/siem/secrets": {"kind": "SecretList", "apiVersion": "v1", "items": items},
    }


def _resources(version: str, kinds: tuple[str, ...]) -> dict[str, Any]:
    """Return the list of the resources of one version."""
    return {
        "kind": "APIResourceList",
        "groupVersion": version,
        "resources": [
            {"name": f"{one.lower()}s", "namespaced": True, "kind": one, "verbs": ["get", "list"]}
            for one in kinds
        ],
    }


@contextmanager
def kubernetes(secrets: Mapping[str, tuple[str, ...]]) -> Iterator[str]:
    """Serve a namespace that has these Secrets, with these keys; give its address."""
    known = answers(secrets)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            found = known.get(self.path.partition("?")[0])
            body = json.dumps(found).encode()
            self.send_response(200 if found else 404)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name of the base class
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


def installing(secrets: Mapping[str, tuple[str, ...]], values: Mapping[str, Any]) -> str:
    """Return what helm says of an installation in such a namespace; nothing where it takes it."""
    with kubernetes(secrets) as address:
        done = helm(
            *("template", "siem", str(CHART), "--namespace", "siem", "--dry-run=server"),
            *("--kube-apiserver", address, "--disable-openapi-validation"),
            values=values,
        )
    assert (done.returncode == 0) == ("kind: Deployment" in done.stdout), done.stderr
    return "" if done.returncode == 0 else re.sub(r"\s+", " ", done.stderr)


def test_what_is_there_is_taken() -> None:
    """With every key that is read, and with none that nobody reads."""
    fewer = {"migration": {"enabled": False}, "secrets": {"keys": {"metricsToken": ""}}}

    assert installing({"siem": _KEYS}, {}) == ""
    assert installing({"siem": _KEYS[:3]}, fewer) == ""


def test_what_is_missing_is_named(subtests: pytest.Subtests) -> None:
    """The value, the Secret and the key, with what there is."""
    owner = {"secrets": {"owner": {"existingSecret": "siem-owner"}}}
    webhook = {"secrets": {"keys": {"healthWebhookUrl": "health"}}}
    for secrets, values, words in (
        ({"other": _KEYS}, {}, "secrets.existingSecret: there is no Secret siem in the namespace siem"),
        ({}, {}, "secrets.existingSecret: there is no Secret siem in the namespace siem"),
        ({"siem": ()}, {}, "secrets.keys.databaseUrl: the Secret siem has no key database_url; it has none"),
        ({"siem": _KEYS[:4]}, {}, "secrets.owner.databaseUrl: the Secret siem has no key database_owner_url"),
        ({"siem": _KEYS}, owner, "secrets.owner.existingSecret: there is no Secret siem-owner"),
        ({"siem": _KEYS[:4], "siem-owner": ("url",)}, owner, "the Secret siem-owner has no key"),
        ({"siem": _KEYS}, webhook, "secrets.keys.healthWebhookUrl: the Secret siem has no key health;"),
        ({"siem": _KEYS}, {"flower": {"enabled": True}}, "flower.secretKeys.basicAuth: the Secret siem"),
    ):
        with subtests.test(words=words):
            assert words in installing(secrets, values)
