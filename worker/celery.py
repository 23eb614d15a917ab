"""The Celery app of the delivery fleet.

    celery -A worker worker -Q TYPE            a worker for one type of destination
    celery -A worker worker -Q TYPE,TYPE       or for several
    siem flower                                a look at all of them

A message is a work order: an integration's id, a slot, the lease's epoch. It holds no event and no secret,
it may be lost or repeated, and who forges one can at most cause a batch to be sent that was due anyway.
"""

import logging
import os
import signal
import threading
from functools import cache, partial
from typing import Any

from celery import Celery, Task
from celery.exceptions import Retry
from celery.signals import celeryd_after_setup, worker_init, worker_ready, worker_shutdown
from kombu.entity import Exchange, Queue

from worker.background.reach import reach_fact
from worker.background.redis_monitor import RedisWatch, refuse_unfit
from worker.broker import celery_channel, celery_log, celery_probes, celery_worker
from worker.broker.backlog import Backlog, Timing
from worker.broker.certificates import CertificateNotes
from worker.broker.connection import Client, redis_client
from worker.broker.heartbeat import Heartbeat, consuming_facts, thread_facts
from worker.broker.key_holders import key_facts
from worker.broker.order_messages import task_name
from worker.broker.order_queues import order_headers
from worker.broker.order_waits import ORDER_WAITS
from worker.broker.outcomes import withdraw
from worker.broker.redis_stats import Tenants
from worker.broker.snapshot import documents
from worker.destinations.registry import DESTINATIONS, load_sender, sender_opener
from worker.integrations import destination_types
from worker.integrations.integration import MAX_RETRIES
from worker.logging import clean_records, quiet_libraries
from worker.model.errors import (
    BrokerUnavailable,
    DeliveryDead,
    DeliveryDelayed,
    DeliveryHeld,
    LeaseLost,
    TransientDelivery,
)
from worker.model.fleet_health import worker_role
from worker.model.orders import WorkOrder
from worker.model.settlement import LONGEST_COUNTDOWN
from worker.pipeline.delivery import DeliveryWorker, Gate, Timeouts, close_unused
from worker.pipeline.fair_delivery import GO_ON, FairDelivery
from worker.pipeline.task_report import TaskReport
from worker.pipeline.thread_shares import ThreadShares, pool_size
from worker.settings import Settings, settings
from worker.tracing import WORKER, close_tracing, open_tracing
from worker.transports.budget import BUDGET, raise_descriptor_limit, threads_within
from worker.transports.syslog.stream import watch_to_the_end
from worker.vault.documents import open_document
from worker.vault.vault import open_vault

log = logging.getLogger(__name__)


class DeliveryTask(Task):
    """A task that Celery retries by itself, when the batch says so."""

    autoretry_for = (TransientDelivery,)
    # Celery's own jitter reaches down to zero, so the delay is calculated with the batch instead.
    retry_backoff = 2
    retry_backoff_max = int(LONGEST_COUNTDOWN)
    retry_jitter = False
    max_retries = MAX_RETRIES
    # Expected endings: Flower shows them as failed, the log needs no traceback of ours.
    throws = (DeliveryDead, DeliveryHeld, LeaseLost, BrokerUnavailable)

    def retry(self, *args: Any, exc: Any = None, **options: Any) -> Any:
        """Retry the batch that failed, when it is due: later than Celery's own series, if so asked."""
        if isinstance(exc, TransientDelivery):
            arguments = {"args": (), "kwargs": _arguments(exc.order), "headers": order_headers()}
            options |= {"countdown": exc.retry_in, **arguments}
        return super().retry(*args, exc=exc, **options)


def make_app(config: Settings) -> Celery:
    """Configure Celery; what is not set here is at its default on purpose."""
    made = Celery("worker", set_as_current=True)
    exchange = Exchange("siem", type="direct")
    made.conf.update(
        **celery_worker.broker_settings(config.broker_address(), config.visibility_timeout),
        broker_connection_retry_on_startup=True,  # wait for Redis instead of exiting
        broker_connection_max_retries=None,  # for as long as it takes
        broker_channel_error_retry=True,  # outlive OOM and READONLY answers, which else end the worker
        broker_pool_limit=_threads(config),
        result_backend=None,
        task_ignore_result=True,  # the outcome stands in the ledger
        task_acks_late=True,
        worker_prefetch_multiplier=1,
        worker_disable_prefetch=True,  # orders wait in Redis, where any worker can take them
        task_serializer="json",
        accept_content=["json"],  # who reaches Redis cannot run code here
        event_serializer="json",
        task_create_missing_queues=False,  # a mistyped queue is an error, not a black hole
        task_queues=[Queue(kind, exchange, routing_key=kind) for kind in destination_types()],
        # Threads: they wait on sockets, and gevent would never restore a dead worker's messages.
        worker_pool="worker.broker.celery_worker:SparingTaskPool",
        worker_concurrency=_threads(config),
        worker_soft_shutdown_timeout=30,  # on SIGQUIT: let running batches be settled first
        worker_enable_soft_shutdown_on_idle=True,  # a retry that waits is given back, not forgotten
        task_reject_on_worker_lost=False,  # else a batch that kills its worker comes back at once, for ever
        worker_send_task_events=False,  # Flower enables them when it looks
        worker_redirect_stdouts=False,
    )
    return made


def _threads(config: Settings) -> int:
    """Return how many threads a worker has for all tenants: no more than its descriptors suffice for."""
    return threads_within(raise_descriptor_limit(), pool_size(config.worker_threads))


def issue_order(order: WorkOrder, kind: str) -> None:
    """Put a work order into the queue of its type; if that fails, the sweeper does it later."""
    with celery_log.order_reports():
        arguments, headers = _arguments(order), order_headers(slow=order.slow)
        app.send_task(task_name(kind), kwargs=arguments, headers=headers, queue=kind, retry=False)


def _arguments(order: WorkOrder) -> dict[str, Any]:
    """Write an order as the arguments of its task."""
    return {"integration": order.integration_id, "slot": order.slot, "epoch": order.epoch}


_delivery_workers: list[DeliveryWorker] = []


@cache
def _client() -> Client:
    """Return the client that all threads share: it keeps a connection for each."""
    return redis_client(settings().broker_address())


@cache
def delivery_worker(kind: str) -> DeliveryWorker:
    """Make the process's delivery worker for one type of destination, when its first order comes."""
    config, client, vault = settings(), _client(), open_vault(settings())
    made = DeliveryWorker(
        Backlog(client, Timing.of(config)),
        sender_opener(
            lambda document: open_document(document, vault),
            config.allowed_networks,
            connections=config.worker_threads,
            withdraw=partial(withdraw, client),
            note_certificate=CertificateNotes(client).note,
        ),
        _fair().issue,
        kind,
        Timeouts(config.send_deadline, config.lease, config.retry_backoff),
        _fair().go_on,
        open_tracing(WORKER, enabled=config.tracing),
        _shares.has_plenty,
    )
    _delivery_workers.append(made)
    return made


celery_channel.install_channel(_client)
celery_worker.install_option_checks()
with celery_worker.ended_in_words():
    app = make_app(settings())
celery_log.install_log_filters(app)
celery_worker.install_node_names()
celery_probes.install_probes(max(GO_ON))
clean_records()
quiet_libraries()
_delivery_worker_lock = threading.Lock()
_shares = ThreadShares(_threads(settings()))


@cache
def _fair() -> FairDelivery:
    """Make what shares out the threads of this process, when its first order comes."""
    return FairDelivery(_shares, Tenants(_client()).of, _carry_out, issue_order)


def _carry_out(kind: str, order: WorkOrder, retries: int, gate: Gate) -> TaskReport:
    with _delivery_worker_lock:
        found = delivery_worker(kind)
    return found.deliver(order, retries, gate)


def _add_task(kind: str) -> None:
    """Make the task that delivers to one type of destination."""

    def deliver(task: Any, integration: str, slot: int, epoch: int) -> str:
        return _deliver(kind, task, WorkOrder(integration, slot, epoch))

    deliver.__name__ = task_name(kind)
    deliver.__doc__ = f"Deliver a batch to a destination of the type {kind}."
    app.task(deliver, bind=True, base=DeliveryTask, name=deliver.__name__)


for _kind in destination_types():
    _add_task(_kind)


def _deliver(kind: str, task: Any, order: WorkOrder) -> str:
    """Carry out an order; return the result that Flower shows, though no backend keeps it.

    It is a success if all that was claimed was delivered, another task has the work, or it is set aside. A
    RETRY without a retry of Celery's says that the sweeper issues it again. All else is a FAILURE.
    """
    ORDER_WAITS.note(kind, getattr(task.request, "siem_issued_ms", None))
    with celery_log.task_reports():
        try:
            return _fair().deliver(kind, order, task.request.retries)
        except DeliveryDelayed as error:
            raise Retry(exc=error, when=error.retry_in) from None


_signs: list[Heartbeat] = []
_ending = threading.Event()


@worker_init.connect
def _refuse_to_start(**_: Any) -> None:
    """End at once if no worker can work with this Redis, these keys, or these settings of tracing."""
    with celery_worker.ended_in_words():
        open_vault(settings())
        open_tracing(WORKER, enabled=settings().tracing)
        refuse_unfit(redis_client(settings().broker_address()), settings().redis_accept)


@worker_init.connect
def _fit_descriptors(**_: Any) -> None:
    """Leave what the threads need of this process's descriptors; say so if there are too few."""
    BUDGET.leave_room_for(_threads(settings()), wanted=settings().worker_threads)


@celeryd_after_setup.connect
def _share_threads(instance: Any, **_: Any) -> None:
    """Share out the threads that the pool will have: Celery's own option `-c` may say how many."""
    _shares.resize(instance.concurrency)
    celery_worker.AT_STOP.append(partial(_fair().give_back_orders, celery_channel.LONGEST_POP))


@celeryd_after_setup.connect
def _load_senders(instance: Any, **_: Any) -> None:
    """Import the senders of the worker's queues now: the first batch should not wait for that."""
    for kind in set(instance.app.amqp.queues.consume_from).intersection(DESTINATIONS):
        load_sender(kind)


@celeryd_after_setup.connect
def _watch_redis(**_: Any) -> None:
    """Begin to watch Redis, as soon as the worker can log and before its consumer needs Redis."""
    _ending.clear()
    watch = RedisWatch(redis_client(settings().broker_address()), settings().redis_accept, _end)
    run = partial(watch.run, _ending, celery_log.dependencies)
    threading.Thread(target=run, name="redis-watch", daemon=True).start()


@worker_ready.connect
def _say_alive(sender: Any, **_: Any) -> None:
    """Give heartbeats, as a worker for each of its types of destination."""
    closing = partial(close_unused, _delivery_workers, partial(documents, _client()), _ending)
    threading.Thread(target=closing, name="unused-senders", daemon=True).start()
    threading.Thread(target=partial(ORDER_WAITS.share, _client, _ending), daemon=True).start()
    queues = sender.app.amqp.queues
    kinds = tuple(queues.consume_from)
    vault = open_vault(settings())
    sign = Heartbeat(
        _client(),
        *map(worker_role, kinds),
        facts={**key_facts(vault), **reach_fact(vault, settings())},
        present=lambda: {
            **consuming_facts(kinds, tuple(queues.consume_from)),
            **thread_facts(_shares.threads, _shares.busy()),
        },
    )
    sign.start()
    _signs.append(sign)


def _end() -> None:
    """Ask this worker to end, as an operator would."""
    os.kill(os.getpid(), signal.SIGTERM)


@worker_shutdown.connect
def _close_notify(**_: Any) -> None:
    _ending.set()
    while _signs:
        _signs.pop().stop()
    # What a syslog receiver takes back just behind the last batch would be lost with this process.
    watch_to_the_end()
    for one in _delivery_workers:
        one.close()
    close_tracing()
