"""Every metric of processes, queues and the API; `worker.api.metric_definitions` includes them."""

from worker.api.limits import RefusalReason
from worker.api.metric_registry import MetricRegistry
from worker.broker.heartbeat import API, ROLES
from worker.integrations import destination_types
from worker.model.fleet_health import worker_role
from worker.model.histograms import WAIT_BUCKETS
from worker.model.orders import MessageFault
from worker.model.outages import Resource

PROCESS = MetricRegistry()
_of_fleet = PROCESS.of_fleet

PROCESSES = _of_fleet(
    "siem_processes",
    "Living processes of each role; a killed one is missed within 3 s.",
    "0 of a role that you need: start one.",
    label="role",
    values=(*ROLES, API),
)
PROCESSES_SHORT = _of_fleet(
    "siem_processes_short",
    "Processes that are short of a resource, in each of their roles.",
    "Not 0: raise that limit (as LimitNOFILE=), or start further processes.",
    label="resource",
    values=Resource,
)
PROCESSES_NEEDED = _of_fleet(
    "siem_processes_needed",
    "1 if events need a process of this role now; of workers, if an enabled integration has their type.",
    "1 where `siem_processes` is 0: start one.",
    label="role",
    values=ROLES,
)
BUILD_INFO = _of_fleet(
    "siem_build_info",
    "1 for each release of which a process lives; without a token set, the release is `hidden`.",
    "Two for long: an upgrade has left out a process.",
    label="version",
)
QUEUE_ORDERS = _of_fleet(
    "siem_queue_orders",
    "Work orders that wait in each queue of Celery.",
    "Growing: workers of this type are away or busy. Start more of them.",
    label="queue",
    values=destination_types(),
)
QUEUE_OLDEST = _of_fleet(
    "siem_queue_oldest_seconds",
    "How long the oldest work order has waited that no worker has taken, in each queue of Celery.",
    "Above SIEM_HEALTH_LAG: no worker of this type takes orders. Start or restart one.",
    label="queue",
    values=destination_types(),
)
NOT_CONSUMING = _of_fleet(
    "siem_workers_not_consuming",
    "Living workers that do not consume the queue of their role (`cancel_consumer`); they are not ready.",
    "Not 0: restart them, or have them consume it again with `celery control add_consumer`.",
    label="role",
    values=map(worker_role, destination_types()),
)
ORDER_WAIT = _of_fleet(
    "siem_order_wait_seconds",
    "Seconds that work orders waited in each queue until a thread of a worker took them, retries left out. "
    "A worker that stays with its integration needs no order: none may come for seconds.",
    "Many above a second: start more workers of this type.",
    label="queue",
    values=destination_types(),
    buckets=WAIT_BUCKETS,
)
WORKER_THREADS = _of_fleet(
    "siem_worker_threads",
    "Threads of the living workers of each queue; those of a worker of several queues count in each.",
    "0 where a worker is needed: start one.",
    label="queue",
    values=destination_types(),
)
WORKER_THREADS_BUSY = _of_fleet(
    "siem_worker_threads_busy",
    "Threads of these that carried out an order of this queue at the last heartbeat.",
    "Near `siem_worker_threads` while orders wait: start more workers of this type.",
    label="queue",
    values=destination_types(),
)
MESSAGES_REFUSED = _of_fleet(
    "siem_messages_refused_total",
    "Messages to workers that were dropped because they were no work orders.",
    "Rising: check who else may write to Redis.",
    label="reason",
    values=MessageFault,
)
API_REFUSED = _of_fleet(
    "siem_api_refused_total",
    "Requests and connections that the API refused because a client used more than its share.",
    "Rising: see the log of the API for the client. Start more processes of the API if it is all of them.",
    label="reason",
    values=RefusalReason,
)
API_REQUESTS = _of_fleet(
    "siem_api_requests_total",
    "Requests that the scraped process of the API has answered since it began, by the route's template.",
    "`429` rising: see `siem_api_refused_total`. `500` or `503`: see the log of the API.",
    (),
    label="route",
    others=("method", "status"),
)
API_SECONDS = _of_fleet(
    "siem_api_request_seconds",
    "Seconds that these requests took, to the end of the answer.",
    "Many above a second: start more processes of the API, or check the database.",
    (),
    label="route",
    buckets=WAIT_BUCKETS,
)
