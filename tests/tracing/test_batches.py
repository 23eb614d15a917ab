"""What a worker logs of a batch leads to its trace."""

import logging
from typing import Any, NoReturn

import pytest
import redis
from opentelemetry.sdk.trace import TracerProvider

from tests.broker.sending import TIMING, event, subscribe
from tests.logged import fields_of
from worker.broker.backlog import Backlog
from worker.broker.chunk_traces import pack_traces
from worker.broker.hand_over import append
from worker.broker.ingress import RoutedChunk
from worker.model.errors import DeliveryHeld, InvalidIntegration
from worker.model.log_events import DELIVERY_ATTEMPTED
from worker.model.trace_context import TraceContext
from worker.pipeline.delivery import DeliveryWorker, Timeouts
from worker.tracing.spans import Tracing

CONTEXT = TraceContext(b"a" * 16, b"1" * 8)


@pytest.mark.parametrize(("contexts", "trace"), [([CONTEXT], CONTEXT.trace_id.hex()), ([None], None)])
def test_log_records_of_a_traced_batch_name_its_trace(
    client: redis.Redis,
    caplog: pytest.LogCaptureFixture,
    contexts: list[TraceContext | None],
    trace: str | None,
) -> None:
    """One that is not traced has no such field. Nothing is sent here: the attempt is logged all the same."""
    backlog = Backlog(client, TIMING)
    tracing: Any = Tracing(TracerProvider(shutdown_on_exit=False).get_tracer("worker"))
    worker = DeliveryWorker(
        backlog, _open_nothing, lambda *_: None, "webhook", Timeouts(45, 60, 2), tracing=tracing
    )
    subscribe(client, "a")
    pipeline = client.pipeline(transaction=True)
    append(pipeline, [RoutedChunk(["a"], urgent=True, events=[event("e1")], traces=pack_traces(contexts))])
    pipeline.execute()
    [order] = backlog.wake(["a"])
    with caplog.at_level(logging.DEBUG, "worker.pipeline.delivery"), pytest.raises(DeliveryHeld):
        worker.deliver(order)

    assert [fields.get("trace") for fields in fields_of(caplog, DELIVERY_ATTEMPTED)] == [trace]


def _open_nothing(_document: bytes) -> NoReturn:
    raise InvalidIntegration("id", "is missing", "give one")
