"""Each file of deploy/ is exercised by a test that names it, or its folder."""

import subprocess
from pathlib import Path

import pytest

TOP = Path(__file__).parents[2]

#: Files and folders of deploy/, and the test that reads, starts or follows them.
EXERCISED = {
    "Dockerfile": "tests/deploy/test_image.py",
    "Dockerfile.dockerignore": ".ci/image",
    "README.md": "tests/project/test_readme_commands.py",
    "compose-nginx": "tests/deploy/test_compose_scripts.py",
    "compose-postgres": "tests/deploy/test_compose_scripts.py",
    "compose-secrets": "tests/deploy/test_compose.py",
    "compose.yaml": "tests/deploy/test_compose.py",
    "grafana": "tests/deploy/test_grafana.py",
    "guides": "tests/project/documents.py",
    "helm": "tests/deploy/charts.py",
    "install": "tests/deploy/test_install.py",
    "lock": "tests/project/test_setup.py",
    "nginx": "tests/deploy/test_nginx.py",
    "postgres": "tests/deploy/test_postgres.py",
    "prometheus": "tests/deploy/prometheus.py",
    "redis": "tests/deploy/redis_servers.py",
    "requirements-dev.lock": "tests/project/test_setup.py",
    "requirements.lock": "tests/project/test_setup.py",
    "runbooks.md": "tests/deploy/test_prometheus.py",
    "siem-admin": "tests/deploy/test_siem_admin.py",
    "siem.env.example": "tests/deploy/test_siem_env_example.py",
    "systemd": "tests/deploy/test_systemd.py",
    "up": "tests/project/test_setup.py",
    "venv.sh": "tests/project/test_setup.py",
}


def test_each_file_has_a_test_that_names_it() -> None:
    """A new file needs a line here, and the test that it names."""
    try:
        listing = ["git", "ls-files", "deploy"]
        found = subprocess.run(listing, cwd=TOP, capture_output=True, check=True, text=True).stdout
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("not a git checkout: it is not known which files belong to it")
    parts = {name.split("/")[1] for name in found.split()}

    assert parts == EXERCISED.keys()
    assert [part for part, test in EXERCISED.items() if part not in (TOP / test).read_text()] == []
