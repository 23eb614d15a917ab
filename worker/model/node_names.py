"""The name under which Celery, Flower and `celery status` know a worker. Pure."""

from collections.abc import Collection

from worker.integrations import DESTINATION_TYPES

_ALL = "all"


def node_name(queues: Collection[str], host: str, nonce: str) -> str:
    """Return `<types>-<nonce>@<host>`, such as `webhook-3f9c2a1b@node-7`.

    `queues` are those that the worker was told to consume; none means all. `nonce` tells it from workers for
    the same types on this host, and on others of the same host name, such as containers: Celery takes all
    workers of one name for a single one.
    """
    kinds = [kind for kind in DESTINATION_TYPES if kind in queues]
    is_for_all = not queues or len(kinds) == len(DESTINATION_TYPES)
    return f"{_ALL if is_for_all else '-'.join(kinds)}-{nonce}@{host}"
