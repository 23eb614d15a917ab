"""`siem settings`: which settings a process would read here, and where each comes from; a file with all."""

import os
import textwrap
from collections.abc import Iterator
from typing import Any

import click
from pydantic import SecretStr

from worker.cli.output import as_json_option, print_items, print_table
from worker.cli.stores import configuration
from worker.secret_files import file_variable, secret_fields, variable, variable_in_use
from worker.settings import Settings

_WIDTH = 110
#: Headings of the file, and what the names of their settings begin with. The last takes all others.
_GROUPS = (
    ("Redis, the database and secrets", ("redis_url", "database_", "secret_", "data_dir", "redis_")),
    ("Logs", ("log_",)),
    ("API and metrics", ("api_host", "api_port", "api_", "metrics_", "ingress_", "idempotency_")),
    ("Probes", ("probe_",)),
    ("Flower", ("flower_",)),
    ("What may wait in Redis", ("backlog_", "waiting_")),
    ("What a tenant may have", ("tenant_", "integration_")),
    ("How long data are kept", ("keep_",)),
    ("Health", ("health_",)),
    ("Delivery", ("",)),
)
_HEADING = """\
# Every setting of the fleet, at its default. Made by `siem settings --env`; deploy/README.md tells more.
#
# For /etc/siem/siem.env, which systemd reads (EnvironmentFile=), and for `env_file` of compose. Remove the #
# in front of what you change. NAME=value, to the end of the line: no quotes, no blanks around the =, and no
# comment behind. Secrets belong into files of their own: set SIEM_X_FILE in place of SIEM_X.
"""


@click.command()
@click.option("--env", is_flag=True, help="Print a file for /etc/siem/siem.env: every setting, explained.")
@as_json_option
def settings(*, env: bool, as_json: bool) -> None:
    """Show the settings that a process with this environment has, and from which variable each comes.

    A secret is never shown, only whether it is set. Exits with 2 if a setting cannot be used.

    \b
    siem settings
    siem settings --env > siem.env
    """
    if env and as_json:
        raise click.UsageError("choose --env or --json")
    if env:
        click.echo(environment_file(), nl=False)
        return
    read = configuration()
    found = [_effective(name, getattr(read, name)) for name in Settings.model_fields]
    if as_json:
        print_items(found)
        return
    rows = [
        [one["variable"], "…" if one["secret"] and one["set"] else one["value"], one["source"]]
        for one in found
    ]
    print_table(["setting", "value", "from"], rows, empty="")


def environment_file() -> str:
    """Return a file with every setting at its default, as a comment, by group."""
    return "\n".join([_HEADING, *_sections()])


def _sections() -> Iterator[str]:
    rest = dict.fromkeys(Settings.model_fields)
    for heading, beginnings in _GROUPS:
        names = list(dict.fromkeys(name for one in beginnings for name in rest if name.startswith(one)))
        if not names:
            continue
        for name in names:
            del rest[name]
        yield f"##### {heading} #####\n"
        yield from map(_entry, names)


def _entry(name: str) -> str:
    field = Settings.model_fields[name]
    lines = textwrap.wrap((field.description or "").replace("`", ""), _WIDTH, break_long_words=False)
    lines = [f"# {line}" for line in lines]
    if name in secret_fields(Settings):
        lines += ["# A secret.", f"#{file_variable(name)}=/etc/siem/secrets/{name}"]
    return "\n".join([*lines, f"#{variable(name)}={_text(field.default)}", ""])


def _effective(name: str, value: Any) -> dict[str, Any]:
    """Describe a setting as it is; of a secret only whether it is set."""
    used = variable_in_use(name)
    secret = name in secret_fields(Settings)
    return {
        "variable": variable(name),
        "value": None if secret else _text(value),
        "secret": secret,
        "set": used in os.environ,
        "source": used if used in os.environ else "default",
    }


def _text(value: Any) -> str:
    """Write a setting as its variable has it; no secret."""
    if value is None or isinstance(value, SecretStr):
        return ""
    if isinstance(value, tuple):
        return ",".join(map(str, value))
    return f"{value:g}" if isinstance(value, float) else str(value)
