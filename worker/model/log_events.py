"""Every fact that is logged: its name, its level, and what it says. Grouped by the noun, in its order.

A name stays what it is: alerts and searches rest on it. The sentences may change.
"""

import logging
from functools import partial

from worker.model.log_records import LogEvent

_debug, _info = partial(LogEvent, logging.DEBUG), partial(LogEvent, logging.INFO)
_warning, _error = partial(LogEvent, logging.WARNING), partial(LogEvent, logging.ERROR)

API_LISTENING = _info("api.listening", "listening at {url}")
API_STARTED_WITHOUT_DATABASE = _warning("api.started_without_database", "started without database: {error}")
API_KEY_COPY_DEFERRED = _debug("api_key.copy_deferred", "key not yet in Redis, a recorder copies it: {error}")
API_KEY_REVOCATION_DEFERRED = _warning(
    "api_key.revocation_deferred",
    "{api_key} is revoked in the database, not yet in Redis ({error}): a recorder copies it within seconds "
    "once Redis is back. If the database is down then, the key works until it is back, for a day at most",
)
API_KEY_REVOCATION_RECORDED = _warning(
    "api_key.revocation_recorded", "{api_key} was revoked while the database was away; now in the ledger, too"
)

AUDIT_RECORDS_DROPPED = _error("audit.records_dropped", "{count} audit records dropped: {reason}")
AUDIT_SUBSCRIBER_BEHIND = _warning("audit.subscriber_behind", "siem:audit is full: a group does not read it")

BACKLOG_BUDGET_EXCEEDED = _warning(
    "backlog.budget_exceeded",
    "memory budget of all backlogs ({bytes} bytes) reached: {events} events are parked, the oldest of: "
    "{integrations}",
)
BACKLOG_CHUNKS_MISSING = _error("backlog.chunks_missing", "the events of {chunks} shared chunks are missing")
BACKLOG_CHUNKS_RECOUNTED = _error(
    "backlog.chunks_recounted", "shared chunks: {count} wrong counts set right, {chunks} unused ones removed"
)
BACKLOG_FULL = _warning(
    "backlog.full", "backlog of {integration} is full: its {events} oldest events are parked", "name"
)
BACKLOG_SLOTS_REPAIRED = _error("backlog.slots_repaired", "{count} slots had no lease: damaged data")
BACKLOG_UNREADABLE = _error(
    "backlog.unreadable",
    "{chunks} chunks of the backlog of {integration} cannot be read: their {events} events are dead letters; "
    "check the disk and memory of Redis",
)
BACKLOG_WAKE_FAILED = _error("backlog.wake_failed", "cannot issue a work order for {integration}: {error}")
BREAKER_CLOSED = _warning("breaker.closed", "circuit breaker of {integration} closed")
BREAKER_OPENED = _warning(
    "breaker.opened",
    "circuit breaker of {integration} opened ({reason}): its events wait, and one probe at a time is sent",
)
BREAKER_REASON_CHANGED = _warning(
    "breaker.reason_changed", "circuit breaker of {integration} still open, now because of {reason}"
)

CELL_DIRECTORY_INVALID = _error(
    "cell.directory_invalid", "the directory of cells is not valid, the one before it stays: {error}"
)

CLOCK_RECOVERED = _warning("clock.recovered", "the clock of this process agrees with Redis again")
CLOCK_SKEWED = _warning(
    "clock.skewed",
    "the clock of this process is {seconds:.0f} s {state} that of Redis: set it right (NTP); what this "
    "process signs or stamps carries the wrong time",
    "skew_seconds",
)

DELIVERY_ATTEMPTED = _debug(
    "delivery.attempted",
    "attempt {attempt}: {delivered} delivered, {retried} to be retried, {dead} dead of {events} in "
    "{elapsed_ms} ms",
    "reason retry_in",
)
DELIVERY_INTERRUPTED = _warning(
    "delivery.interrupted",
    "{batches} batch(es) interrupted by the end of {worker}; no event is lost, resending: {integrations}",
    "host pid reason",
)
DELIVERY_LEASE_LOST = _warning(
    "delivery.lease_lost", "the batch was settled before, or its lease expired and it is resent"
)
DELIVERY_NOT_SETTLED = _warning(
    "delivery.not_settled",
    "{batches} batch(es) not settled in time by {worker}, which {state}; resending: {integrations}",
    "host pid reason",
)
DELIVERY_UNEXPECTED_ERROR = _error(
    "delivery.unexpected_error", "unexpected error while sending; the batch is retried"
)
DELIVERY_WITHDRAWAL_DEFERRED = _warning(
    "delivery.withdrawal_deferred", "{events} events not withdrawn: {error}"
)
DEPENDENCY_BACK = _warning("dependency.back", "{dependency} is back after {seconds:.1f} s")
DEPENDENCY_LOST = _error("dependency.lost", "lost {dependency}: {error}; retrying until it is back")

EVENT_VALIDATION_FAILED = _error(
    "event.validation_failed", "unexpected error while validating an event: it becomes a dead letter"
)

FLEET_CLIENTS_UNKNOWN = _debug("fleet.clients_unknown", "Redis does not list its clients: {error}")

FLOWER_LISTENING = _info("flower.listening", "Flower listens: {host}, port {port}")

HEALTH_WEBHOOK_FAILED = _warning("health_webhook.failed", "health webhook failed ({error}), retrying")
HEARTBEAT_FAILED = _debug("heartbeat.failed", "Redis does not answer: heartbeat not written")
HEARTBEAT_NOT_REMOVED = _debug("heartbeat.not_removed", "Redis does not answer: heartbeat not removed")
HTTP_NOT_STARTED = _warning("http.not_started", "libcurl could not start a request to {peer}: {error}")
HTTP_UNEXPECTED_END = _warning(
    "http.unexpected_end", "libcurl ended a request to {peer} by its code {code}: {error}"
)

INGRESS_CAUGHT_UP = _info("ingress.caught_up", "the ingress has caught up")
INGRESS_FLOODED = _warning(
    "ingress.flooded",
    "more events arrive than are routed, most of tenant {tenant}: theirs wait, all others go first; if this "
    "lasts, start more routers or let that tenant publish less",
)
INGRESS_RENUMBERED = _error(
    "ingress.renumbered",
    "an entry was added to siem:events with an id ahead of the clock of Redis ({last_id}): the ids are "
    "brought back to the clock, and the {entries} waiting entries are kept (number {times} since this router "
    "started); see who may publish with XADD, and have them use the HTTP API instead",
)
INTEGRATION_ANNOUNCE_DEFERRED = _warning(
    "integration.announce_deferred", "saved, but not yet in Redis ({error}): a recorder copies it"
)
INTEGRATION_DAMAGED_UNKNOWN = _error(
    "integration.damaged_unknown",
    "integration {integration} in Redis is damaged and not in the ledger: set aside",
)
INTEGRATION_DISABLED_GONE = _warning(
    "integration.disabled_gone",
    "integration {name} ({integration}) is disabled: its destination says that it is gone for good; "
    "`siem integrations enable {integration}` enables it again",
)
INTEGRATION_HEALTH_CHANGED = _warning(
    "integration.health_changed",
    "integration {name} ({integration}) is {state}: `siem health {integration}` shows why",
    "tenant type previous reason last_error",
)
INTEGRATION_OLDER_IN_LEDGER = _error(
    "integration.older_in_ledger",
    "integration {name} ({integration}) was {state_in_redis} after the state that the ledger has of it, as "
    "after a restore from a backup: it is now {state} in the ledger, too, until it is changed",
)
INTEGRATION_ORPHAN_KEYS = _error(
    "integration.orphan_keys",
    "Redis holds keys of integration {integration}, which neither Redis nor the ledger knows: they are kept; "
    "check whether the ledger was restored from an older backup",
)
INTEGRATION_REMOVAL_FAILED = _error(
    "integration.removal_failed", "integration {integration} cannot be removed from Redis: {error}"
)
INTEGRATION_REMOVED = _info("integration.removed", "{count} deleted integrations are removed from Redis")
INTEGRATION_STATS_UNREADABLE = _error(
    "integration.stats_unreadable", "cannot read the counts of integration {integration}: {error}"
)
INTEGRATION_UNKNOWN_TO_LEDGER = _error(
    "integration.unknown_to_ledger",
    "integration {name} ({integration}) is in Redis, but not in the ledger, as after a restore from a "
    "backup: it is paused, its events are kept; see `siem integrations orphans list`",
)
INTEGRATION_UNREADABLE = _error(
    "integration.unreadable", "integration {name} ({integration}) in {store} cannot be read: {error}"
)

MESSAGE_DROPPED = _error(
    "message.dropped",
    "dropped a message of {queue}: it {details}; {count} of this kind since the last line; see who else may "
    "write to Redis",
    "reason",
)
MESSAGE_NOT_COUNTED = _debug("message.not_counted", "cannot count dropped messages yet: {error}")

ORDER_PUBLISH_FAILED = _info(
    "order.publish_failed", "a work order could not be published ({error}): the sweeper publishes it"
)
ORDER_REISSUED = _info("order.reissued", "{count} work orders were not picked up in time: reissued")
ORDER_RETURNED = _info(
    "order.returned",
    "an order came to {queue} after this worker had stopped consuming: it is back in its queue",
)
ORDER_SKIPPED = _debug("order.skipped", "order skipped: {reason}")

PARKED_RETURNED = _info("parked.returned", "{events} parked events are back in {integration}'s backlog")
PARKED_UNREADABLE = _error("parked.unreadable", "unreadable parked chunk: {events} events are dead letters")
PROBES_LISTENING = _info("probes.listening", "/livez and /readyz of this process: {host}, port {port}")
PROCESS_CRASHED = _error("process.crashed", "unexpected error ended this process")
PROCESS_LIVE_AGAIN = _warning("process.live_again", "this process goes on again")
PROCESS_RUNS_AS_ROOT = _warning(
    "process.runs_as_root", "this worker runs as root: in production give it a user of its own"
)
PROCESS_STARTED = _info("process.started", "{role} started", "release")
PROCESS_STOPPED = _info("process.stopped", "{role} stopped")
PROCESS_STUCK = _error("process.stuck", "this process is stuck and should be restarted: {reason}")
PROCESS_UNEXPECTED_ERROR = _error(
    "process.unexpected_error", "unexpected error in {task}, retrying in {retry_in:.0f} s"
)
PRUNING_DONE = _info("pruning.done", "pruned by age: {details}")
PRUNING_PARKED_PRUNED = _warning(
    "pruning.parked_pruned", "{count} parked events were pruned: they were never delivered"
)
PRUNING_REFUSED = _error("pruning.refused", "{details}", "kind")
PRUNING_RESUMED = _warning("pruning.resumed", "pruning resumed", "kind")
PRUNING_WAITING_PRUNED = _warning(
    "pruning.waiting_pruned", "{count} of the pruned dead letters were still waiting for a replay"
)

QUEUE_UNKNOWN = _error("queue.unknown", "there is no queue {queue!r} to consume from: give {known}")

RECORDER_BATCH_REFUSED = _error(
    "recorder.batch_refused", "entries cannot be recorded together ({error}): recording them one by one"
)
RECORDER_ENTRY_SET_ASIDE = _error(
    "recorder.entry_set_aside",
    "an entry cannot be recorded ({error}): it is set aside; `siem unrecordable list` shows it, and `siem "
    "unrecordable retry` puts it back",
)
RECORDER_STALL_NOT_PUBLISHED = _debug(
    "recorder.stall_not_published", "cannot publish whether recorders can write: {error}"
)
REDIS_CHECK_CHANGED = _warning("redis.check_changed", "Redis, check {check}: {details}", "state")
REDIS_CHECKED = _info("redis.checked", "Redis checked: {details}")
REDIS_COUNT_RESET = _error(
    "redis.count_reset", "{name} of {key} in Redis was damaged ({value}): counting from 0"
)
REDIS_DATA_LOST = _error(
    "redis.data_lost", "{loss}: {details} (`siem redis acknowledge {loss}` once that is dealt with)", "kind"
)
REDIS_KEY_DISPLACED = _error(
    "redis.key_displaced", "{key} in Redis was of a wrong type: what was there is at {place} now"
)
REPLAY_DONE = _info(
    "replay.done",
    "replay {replay} is done: {replayed} of {total} dead letters were replayed, {skipped} needed no replay",
)
REPLAY_RECORDS_DAMAGED = _error(
    "replay.records_damaged", "dropped the damaged records of {count} replays in Redis"
)
REPLAY_RESUMED = _warning("replay.resumed", "replay {replay} continues where another process stopped")
REPLAY_STARTED_BY_REDRIVE = _warning(
    "replay.started_by_redrive",
    "circuit breaker of integration {integration} closed: replaying {total} dead letters of its outage "
    "({replay})",
)
REQUEST_FAILED = _error("request.failed", "request failed: {error}")
REQUEST_NOT_COUNTED = _debug("request.not_counted", "cannot count refused requests yet: {error}")
REQUEST_REFUSED = _warning(
    "request.refused", "refused {count} requests or connections of {who} since the last line: {reason}"
)
RESOURCES_RECOVERED = _warning(
    "resources.recovered",
    "this process has enough {resource} again: it was short for {seconds:.0f} s, {times} times",
)
RESOURCES_SHORT = _error(
    "resources.short",
    "this process is short of {resource}: {error}; what cannot be sent waits and counts as no attempt; "
    "{hint}",
)
RESOURCES_TOO_FEW_FILES = _warning(
    "resources.too_few_files",
    "the limit of {limit} open files suffices for {threads} threads, and SIEM_WORKER_THREADS wants {wanted}: "
    "{hint}",
)

SECRETS_BOUND = _info("secrets.bound", "bound {count} secrets to the addresses that they are sent to")
STREAM_ENTRIES_STRANDED = _error(
    "stream.entries_stranded",
    "{count} entries of {stream} were handed out and held by no reader (is Redis' log sound?): read again",
)
STREAM_FOREIGN_ENTRY = _error(
    "stream.foreign_entry", "entry {entry} of {stream} is not ours ({error}): set aside"
)
SYSLOG_CLOSED_AFTER_SEND = _warning(
    "syslog.closed_after_send",
    "{peer} closed the connection, or refused datagrams, right after {events} events that counted as sent",
)

TABLE_LOCKED = _warning(
    "table.locked", "another transaction holds a table that is to be changed: retrying in {retry_in:.0f} s"
)
TENANT_QUOTA_EXCEEDED = _warning(
    "tenant.quota_exceeded",
    "{bytes} bytes of events of tenant {tenant} wait, more than SIEM_TENANT_WAITING_BYTES ({most}): POST "
    "/events answers 429 until fewer wait",
)
TENANT_QUOTA_RECOVERED = _warning(
    "tenant.quota_recovered", "fewer events of tenant {tenant} wait: POST /events accepts them again"
)
TENANT_THREADS_USED_UP = _warning(
    "tenant.threads_used_up",
    "tenant {tenant} holds its share of this worker's threads (its destinations answer slowly), and what "
    "goes beyond it waits; if this lasts, start more workers, or raise SIEM_WORKER_THREADS",
)
THREAD_ENDED = _error("thread.ended", "unexpected error ended the thread {task}")
TRACING_FAILED = _warning("tracing.failed", "spans are lost, no collector takes them: {reason}")
TRACING_RESUMED = _warning("tracing.resumed", "spans are exported again; {count} were lost")

UP_OUTPUT = _warning("up.output", "{role}: {details}")
