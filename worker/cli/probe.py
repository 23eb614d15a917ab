"""`siem probe`: asks a process of this machine whether it lives, or can do its work. Imports little.

Containers run it every few seconds: it reads no settings but the two that it needs, and opens no store.
"""

import http.client
import json
import os
import sys

import click

#: How long to wait for the answer, in seconds.
PATIENCE = 3.0
_PATHS = {"live": "/livez", "ready": "/readyz"}
#: What listens at all addresses is asked at one of them.
_ANY = {"0.0.0.0": "127.0.0.1", "::": "::1"}


@click.command()
@click.argument("question", metavar="live|ready", type=click.Choice(list(_PATHS)))
@click.option("--port", type=click.IntRange(1, 65535), help="The port to ask; else SIEM_PROBE_PORT.")
def probe(question: str, port: int | None) -> None:
    """Ask a process of this machine whether it is `live`, or `ready` for its work.

    It has to run with SIEM_PROBE_PORT, and is asked at SIEM_PROBE_HOST. Exits with 0 if it is, else with 1.
    """
    host = os.environ.get("SIEM_PROBE_HOST", "127.0.0.1")
    reason = _ask(_ANY.get(host, host), port or _port_set(), question)
    if reason is None:
        click.echo(question)
        return
    click.echo(f"not {question}: {reason}", err=True)
    sys.exit(1)


def _port_set() -> int:
    text = os.environ.get("SIEM_PROBE_PORT", "")
    if text.isascii() and text.isdecimal() and 0 < int(text) < 1 << 16:
        return int(text)
    raise click.UsageError("no port to ask: set SIEM_PROBE_PORT to that of the process, or give --port")


def _ask(host: str, port: int, question: str) -> str | None:
    """Return why the answer is no; None if it is yes."""
    connection = http.client.HTTPConnection(host, port, timeout=PATIENCE)
    try:
        connection.request("GET", _PATHS[question])
        response = connection.getresponse()
        text = response.read(4096)
    except TimeoutError:
        return f"the process at port {port} does not answer within {PATIENCE:g} s"
    except (OSError, http.client.HTTPException) as error:
        return f"nothing answers at {host}, port {port} ({error})"
    finally:
        connection.close()
    try:
        document = json.loads(text)
    except ValueError:
        document = None
    if not isinstance(document, dict) or not isinstance(document.get(question), bool):
        return f"what listens at port {port} is no process of the fleet"
    return None if response.status == http.client.OK else str(document.get("reason"))
