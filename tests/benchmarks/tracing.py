"""What tracing costs: CPU of a router and a worker for each event, off, and on with 1 % and 100 % sampled.

Both run in this process, over a real Redis; the sender accepts everything, and a collector takes the spans.
What remains is what the fleet itself does, its exporter included. Each event that is sampled was published by
a span of its own, the dearest case. The best of several rounds counts, by CPU time of this process.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import redis

from tests.benchmarks.measuring import end_on_sigterm, hardware
from tests.broker.sending import TIMING, subscribe
from tests.embedded_servers import VALKEY, start_server
from worker.broker import keys
from worker.broker.backlog import Backlog
from worker.broker.connection import redis_client
from worker.broker.ingress import Ingress
from worker.broker.ingress_ahead import IngressAhead
from worker.broker.snapshot import Snapshot
from worker.model.batches import Batch, DeliveryAttempt
from worker.model.deliveries import DeliveryResult, Verdict
from worker.model.orders import WorkOrder
from worker.model.settlement import RetryPolicy, settle_results
from worker.model.trace_context import TraceContext
from worker.pipeline.router import Router
from worker.pipeline.traces import trace_batch
from worker.samples import sample_lines
from worker.tracing import open_tracing
from worker.tracing.spans import Tracing

_COLLECTOR = (
    "from tests.tracing.collector import Collector\n"
    "import sys, time\n"
    "collector = Collector()\n"
    "print(collector.url, flush=True)\n"
    "sys.stdin.read()\n"
)
#: Name → whether tracing is on, and one of how many events is sampled (0: none).
_CASES = {"off": (False, 0), "on_none": (True, 0), "on_1_percent": (True, 100), "on_100_percent": (True, 1)}


def main() -> None:
    """Measure every case in each round and print one JSON object."""
    end_on_sigterm()
    arguments = _arguments()
    lines = list(sample_lines(arguments.events))
    best = dict.fromkeys(_CASES, float("inf"))
    with (
        subprocess.Popen(
            [sys.executable, "-c", _COLLECTOR], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        ) as collector,
        tempfile.TemporaryDirectory() as folder,
    ):
        assert collector.stdout is not None
        os.environ["OTEL_EXPORTER_OTLP_ENDPOINT"] = collector.stdout.readline().decode().strip()
        server = start_server(VALKEY, Path(folder) / "server")
        tracing = open_tracing("siem-benchmark", enabled=True)
        assert tracing is not None
        for _ in range(arguments.rounds):
            for name, (is_on, share) in _CASES.items():
                seconds = _round(server.url, lines, tracing if is_on else None, share)
                best[name] = min(best[name], seconds)
        server.stop()
        tracing.close()
        collector.terminate()
    costs = {name: round(seconds / arguments.events * 1e6, 2) for name, seconds in best.items()}
    ratios = {name: round(seconds / best["off"], 3) for name, seconds in best.items()}
    found = {"hardware": hardware(), "microseconds_an_event": costs, "ratio_to_off": ratios}
    json.dump(found, sys.stdout, indent=2)
    sys.stdout.write("\n")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--events", type=int, default=20_000, help="events a round (default 20000)")
    parser.add_argument("--rounds", type=int, default=5, help="rounds, of which the best counts (default 5)")
    return parser.parse_args()


def _round(url: str, lines: Sequence[bytes], tracing: Tracing | None, share: int) -> float:
    """Publish, and return the seconds of CPU that routing and delivering took."""
    client = redis_client(url)
    client.flushall()
    subscribe(client, "a")
    _publish(client, lines, share)
    orders: list[WorkOrder] = []
    backlog = Backlog(client, TIMING)
    ingress, ahead = Ingress(client, "router", 30), IngressAhead(client)
    router = Router(ingress, backlog, Snapshot(client), lambda order, _: orders.append(order), ahead, tracing)
    began = time.process_time()
    while client.xlen(keys.EVENTS):
        router.step()
        while orders:
            _deliver(backlog, orders, tracing)
    seconds = time.process_time() - began
    client.close()
    return seconds


def _publish(client: redis.Redis, lines: Sequence[bytes], share: int) -> None:
    pipeline = client.pipeline(transaction=False)
    for number, line in enumerate(lines, 1):
        fields: dict[Any, Any] = {"event": line}
        if share and number % share == 0:
            fields["traceparent"] = TraceContext(number.to_bytes(16), number.to_bytes(8)).header()
        pipeline.xadd(keys.EVENTS, fields)
    pipeline.execute()


def _deliver(backlog: Backlog, orders: list[WorkOrder], tracing: Tracing | None) -> None:
    found = backlog.claim(orders.pop())
    if isinstance(found, str):
        return
    if found.further is not None:
        orders.append(found.further)
    following = _settle(backlog, found.batch, tracing)
    if following is not None:
        orders.append(following)


def _settle(backlog: Backlog, batch: Batch, tracing: Tracing | None) -> WorkOrder | None:
    span = None if tracing is None or not batch.traces else trace_batch(tracing, batch, "webhook")
    attempt = DeliveryAttempt(batch)
    result = DeliveryResult(attempt.open_places(), Verdict.ACCEPTED, 1)
    settlement = settle_results(attempt, [result], RetryPolicy(3, 2.0))
    if span is None:
        return backlog.settle(batch, settlement)
    with span:
        span.settle(batch, settlement)
        return backlog.settle(batch, settlement)


if __name__ == "__main__":
    main()
