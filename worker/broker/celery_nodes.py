"""Gives each worker a name of its own in Celery and Flower, where all workers of a host else share one."""

from collections.abc import Mapping
from typing import Any

import click
from celery.signals import celeryd_init
from click.core import ParameterSource

from worker.broker.identity import node_name, process_identity


def install_node_names() -> None:
    """Have a worker of this process take a name of its own when it starts."""
    celeryd_init.connect(_name)


def _name(instance: Any, options: Mapping[str, Any], **_: Any) -> None:
    """Name the worker, unless `-n` does; the name ends as that of its heartbeats does."""
    context = click.get_current_context(silent=True)
    if context is None or context.get_parameter_source("hostname") is ParameterSource.DEFAULT:
        own = process_identity()
        instance.hostname = node_name(options.get("queues") or (), own.host, own.nonce)
