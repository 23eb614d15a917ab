"""A real Prometheus over a fleet of the test, with the configuration and the rules of deploy/prometheus.

What differs: where the API and its token are, no Alertmanager, and seconds in place of minutes before an
alert fires, and between two scrapes.
"""

import re
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import requests
import yaml

from tests.deploy.prometheus import FOLDER, RULES, program
from tests.interop.programs import Program
from tests.ports import free_port

_QUICK = "1s"
#: Between two scrapes; a busy machine takes longer than a second for one.
_SCRAPE = "4s"
_TIMEOUT = 30


class PrometheusServer:
    """Prometheus, which scrapes one API."""

    def __init__(self, directory: Path, target: str, token: str) -> None:
        """Write its files; `target` is host and port of the API."""
        directory.mkdir()
        port = free_port()
        self._url = f"http://127.0.0.1:{port}"
        _write_files(directory, target, token)
        self._program = Program(
            [
                program("prometheus"),
                f"--config.file={directory / 'prometheus.yml'}",
                f"--storage.tsdb.path={directory / 'data'}",
                f"--web.listen-address=127.0.0.1:{port}",
            ],
            directory,
            tcp=[],
        )

    def query(self, expression: str) -> list[dict[str, Any]]:
        """Return the samples of a query. Fails if Prometheus refuses it."""
        found: list[dict[str, Any]] = self._get("query", query=expression)["result"]
        return found

    def rules(self) -> list[dict[str, Any]]:
        """Return all rules, with their state."""
        return [rule for group in self._get("rules")["groups"] for rule in group["rules"]]

    def evaluated(self) -> bool:
        """Whether each rule was evaluated."""
        rules = self.rules()
        return bool(rules) and all(rule["health"] != "unknown" for rule in rules)

    def alerts(self, state: str = "firing") -> list[dict[str, Any]]:
        """Return the alerts in this state."""
        return [alert for alert in self._get("alerts")["alerts"] if alert["state"] == state]

    def names(self, state: str = "firing") -> set[str]:
        """Return the names of the alerts in this state."""
        return {alert["labels"]["alertname"] for alert in self.alerts(state)}

    def healthy_targets(self) -> list[str]:
        """Return the addresses that it scrapes without an error."""
        targets = self._get("targets")["activeTargets"]
        return [target["labels"]["instance"] for target in targets if target["health"] == "up"]

    def is_up(self) -> bool:
        """Whether it answers."""
        self._program.check()
        try:
            return requests.get(f"{self._url}/-/ready", timeout=_TIMEOUT).ok
        except requests.ConnectionError:
            return False

    def __enter__(self) -> Self:
        self._program.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._program.stop()

    def _get(self, what: str, **parameters: str) -> Any:
        answer = requests.get(f"{self._url}/api/v1/{what}", params=parameters, timeout=_TIMEOUT)
        document = answer.json()
        assert document["status"] == "success", document
        return document["data"]


def _write_files(directory: Path, target: str, token: str) -> None:
    config = yaml.safe_load((FOLDER / "prometheus.yml").read_text())
    config["global"] = {"scrape_interval": _SCRAPE, "scrape_timeout": _SCRAPE, "evaluation_interval": _QUICK}
    del config["alerting"]
    [scrape] = config["scrape_configs"]
    del scrape["dns_sd_configs"]
    scrape["static_configs"] = [{"targets": [target]}]
    scrape["authorization"]["credentials_file"] = str(directory / "token")
    (directory / "prometheus.yml").write_text(yaml.safe_dump(config))
    (directory / "token").write_text(token)
    (directory / "rules").mkdir()
    for path in RULES:
        quick = re.sub(r"^( +for:) \w+$", rf"\1 {_QUICK}", path.read_text(), flags=re.MULTILINE)
        (directory / "rules" / path.name).write_text(quick)
