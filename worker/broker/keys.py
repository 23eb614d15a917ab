"""The names of all keys in Redis, so that a reader with `redis-cli` can follow an event.

| key                          | type   | holds                                                          |
|------------------------------|--------|----------------------------------------------------------------|
| `siem:events`                | stream | ingress: field `event`, one JSON object; or `events`, one a    |
|                              |        | line (`worker.model.event_lines`); or `frame`, judged events of|
|                              |        | one tenant, packed (`worker.broker.frames`); group `router`.   |
|                              |        | Optional: `traceparent`, the span that published it (W3C)      |
| `siem:backlog:<id>:urgent`   | stream | chunks of events for one integration; group `delivery`, whose  |
| `siem:backlog:<id>:bulk`     |        | consumers are the slots. Fields `n`, `bytes`, `events` (packed),|
|                              |        | `crc` (CRC-32 of these bytes; and, if no router has read them, |
|                              |        | `@` and when they were published); if any of the events is traced, |
|                              |        | `traces` (`worker.broker.chunk_traces`); in the place of       |
|                              |        | `events`, `shared`: the id of the next                         |
| `siem:chunk:<chunk>`         | string | events (packed) that several integrations want, once, or that  |
|                              |        | are many (`worker.broker.shared_chunks`); with an id that      |
|                              |        | begins with `p`, a publisher wrote them, and an entry of       |
|                              |        | `siem:events` refers to them until they are routed             |
|                              |        | (`worker.broker.framed_chunks`)                                |
| `siem:chunks`                | hash   | id of such a chunk → how many entries of backlogs refer to it  |
| `siem:state:<id>`            | hash   | limits and counts of one integration: `slots`, `batch_events`, |
|                              |        | `batch_bytes`, `revision` (of its document here), `held` (1:   |
|                              |        | nothing is claimed), `backlog_events` (not yet settled),       |
|                              |        | `unclaimed_events` (of these, held by no slot) and their       |
|                              |        | `unclaimed_bytes`, `unparked` (the page that came back last    |
|                              |        | from the ledger), `claims`,                                    |
|                              |        | `ordered_at`, `claimed_at` (ms; of the latest, while it lasts),|
|                              |        | `last_send_ms` (how long the last batch took), `rests_until`   |
|                              |        | (ms; the destination asked to be spared), `window` (slots at   |
|                              |        | present, up to `slots`), `failures` (sendings, in a row);      |
|                              |        | `breaker` (open, or absent), `opened_at`, `opened_by`,         |
|                              |        | `probe_at`, `probe_wait` (ms), `probe` (the slot that tries);  |
|                              |        | `closed_at` (ms; when it closed last); `recount` (1: damage    |
|                              |        | touched the counts, which begin again once nothing is left)    |
| `siem:slot:<id>:<n>`         | hash   | one slot: `state` (ordered, also while its worker stays for    |
|                              |        | what comes next; sending, waiting; absent: free),              |
|                              |        | `epoch`, `since`, `chunks`, `carried`, `attempts`, `losses`,    |
|                              |        | `due`, `reissues`, `suspects`, `alone`, `holder` (the `since`  |
|                              |        | and the process of the latest claim), `stretched` (how often   |
|                              |        | suspensions lengthened its lease), `doubtful` (claims that were|
|                              |        | given to another although their process had not ended),        |
|                              |        | `shared` (how many of its chunks refer to their events)        |
| `siem:leases`                | zset   | `<id>/<n>` by the time (ms) at which the sweeper steps in      |
| `siem:outcomes`              | stream | what was settled: field `outcomes` (packed); group `recorder`  |
| `siem:dead-letters`          | stream | dead letters with payload: field `dead` (packed); `recorder`   |
| `siem:parked`                | stream | what a backlog has no room for, on its way to the ledger, which |
|                              |        | keeps it until there is: chunks and whose they are; `recorder` |
| `siem:unrecordable`          | stream | what no recorder could record, and why; `siem unrecordable`    |
|                              |        | shows it and puts it back (`worker.broker.unrecordable`)       |
| `siem:integrations`          | hash   | id → the integration as JSON, secrets sealed                   |
| `siem:integrations:version`  | string | another one with every change of that hash                     |
| `siem:integrations:changes`  | list   | which integrations changed with the latest of these versions   |
|                              |        | (JSON; `worker.broker.integration_documents`)                    |
| `siem:integrations:deleted`  | hash   | id → the note of one that was deleted and is gone from here    |
|                              |        | (`worker.broker.deletions`)                                      |
| `siem:certificates`          | hash   | id → when its server's certificate ends (seconds since 1970)   |
| `siem:ledger`                | string | the id of the ledger whose events stand here                   |
| `siem:integrations:conflicts`| hash   | id → on what Redis and the ledger disagree, as JSON            |
|                              |        | (`worker.broker.conflicts`)                                    |
| `siem:epoch`                 | hash   | `id` of this Redis since it was emptied last, `before`: the    |
|                              |        | ids before it; of the latest mark its `number`, `at` (ms) and  |
|                              |        | `figures` (JSON); `truncated`: what the server dropped         |
| `siem:events:ahead`          | string | the lock of the router that reads ahead of all others          |
| `siem:events:floods`         | string | the tenants that flood the ingress (JSON), while it is behind  |
| `siem:events:aside`          | list   | the streams that follow, in their order                        |
| `siem:events:aside:<ms>`     | stream | `siem:events` as it was, with ids ahead of the clock; its      |
|                              |        | entries are added again (`worker.broker.clocks`)          |
| `siem:events:renumbered`     | string | when that happened last (ms), and the id; expires              |
| `siem:formats`               | string | forms of entries that all processes read (`worker.broker.formats`) |
| `siem:formats:held`          | string | since when (ms) the earlier forms are to be written, whatever  |
|                              |        | they read                                                      |
| `siem:tenants:full`          | string | tenants of which too much waits, and how many bytes (JSON);    |
|                              |        | expires (`worker.broker.notices`)                         |
| `siem:marker`                | string | the lock of the one that marks                                 |
| `siem:sweeper`               | string | the lock of the one sweeper                                    |
| `siem:cleanup`               | string | the lock of the one that removes deleted integrations from here |
| `siem:swept`                 | string | when the last sweep was (ms)                                   |
| `siem:replayer`              | string | the lock of the one replayer                                   |
| `siem:retention`             | string | the lock of the one that prunes the ledger                     |
| `siem:retention:refused`     | hash   | what is old and not pruned, and why, in words: kind → words    |
| `siem:unparker`              | string | the lock of the one that brings parked events back             |
| `siem:displaced`             | set    | keys that were moved away and are not logged yet              |
| `siem:displaced:<key>`       | any    | what was found under a key that must be of another type        |
| `siem:replays`               | hash   | replay → what its latest page handed over (packed)             |
| `siem:audit`                 | stream | the audit trail: field `record`, JSON; bounded, see            |
|                              |        | `worker.broker.audit`                                          |
| `siem:audit:inbox`           | hash   | id → a record on its way to the ledger, with a proof (JSON)    |
| `siem:audit:publisher`       | string | the lock of the one that publishes them                        |
| `siem:health`                | channel| changes of the health of integrations
(`worker.broker.health_events`)  |
| `siem:health:states`         | hash   | id → the latest of these changes, as JSON                      |
| `siem:health:untold`         | hash   | id → the same, while the notification webhook does not know it |
| `siem:health:watch`          | string | the lock of the one that watches                               |
| `siem:alive:<role>:<process>` | string | a process (`worker.broker.identity`): its time, by how many       |
|                              |        | seconds it is ahead of Redis; expires by itself                |
| `siem:process:<process>`     | string | the same process: the connection of its heartbeats, since when |
|                              |        | they come without a gap, its roles, and facts that others need |
|                              |        | to know of it (JSON; `worker.broker.fleet`)                    |
| `siem:volume:<hour>:<tenant>` | hash  | event type → how many were published; `<type>:bytes`           |
| `siem:session:<digest>`      | string | who signed in to the pages (JSON); the key is the token's      |
| `siem:draft:<digest>`        | string | what was typed into a form and not saved, sealed               |
| `siem:drafts:of:<digest>`    | zset   | one tenant's: `<bytes>:<key>` by the time (ms) it was written   |
| `siem:drafts:of:<digest>:bytes` | string | how many bytes all of these take                             |
|                              |        | SHA-256                                                        |
| `siem:api-keys`              | hash   | id of an API key → what the ledger has of it, its digest        |
|                              |        | included, as JSON (`worker.broker.api_keys`)                   |
| `siem:api-keys:revoked`      | set    | ids of API keys that open nothing any more, whatever is copied |
| `siem:api-keys:confirmed`    | string | when the ledger last confirmed that copy (ms); only the        |
|                              |        | release before this one reads it                               |
| `siem:api-keys:proved`       | string | the same, with which copy that was, and a proof (JSON)         |
| `siem:idempotency:<digest>`  | string | what was answered to a request that may come twice (JSON)      |
| `siem:idempotency:<digest>:lock` | string | the one that is doing it                                   |
| `siem:idempotency:of:<digest>` | zset | one tenant's: `<bytes>:<key>` by the time (ms) it was written   |
| `siem:idempotency:of:<digest>:bytes` | string | how many bytes all of these take                        |
| `siem:counters`              | hash   | `published`: entries that were routed; `joined`: their events  |
|                              |        | beyond one of each; `unwanted`, `invalid`, `unreadable`: events|
|                              |        | since the beginning; `refused:<fault>`: messages to workers that |
|                              |        | were dropped (`worker.broker.order_queues`);                   |
|                              |        | `api_refused:<reason>`: requests (`worker.api.limits`);        |
|                              |        | `order_wait:<queue>:<bucket>` (`worker.broker.order_waits`);   |
|                              |        | `renumbered`:                                                  |
|                              |        | how often `siem:events` was moved aside; `added_before`:       |
|                              |        | entries that it was given until then, less those that were     |
|                              |        | added again                                                    |
| `siem:recorder:stall`        | string | why no recorder can write to the ledger (JSON); expires        |
| `siem:write-test`            | string | nothing, for a second: whether Redis takes writes again         |
| `siem:preflight:*`           | any    | what `siem preflight` tries out; deleted at once, or expires    |
| `siem:none`                  |        | never there: what is written in a full Redis begins by         |
|                              |        | deleting it                                                    |
| `siem:replicated`            | channel| nothing: what goes through it to the replicas is waited for    |
| `siem:celery:*`              |        | Celery's own: a queue for each type;  unacknowledged messages  |

"Packed" is MessagePack (see `worker.broker.packing`). Entries are deleted once they are settled, so the
length of a stream is what is still to do. No stream of events is ever trimmed: that would drop some.

**Two releases on one Redis.** While a fleet is upgraded or rolled back, processes of the previous release
work beside these, on the same keys. What stands under a name keeps its form: packed entries, fields and
documents only get more at their end, which older code skips; the arguments of a work order, `<id>/<n>` in the
leases, and the states of a slot stay as they are. What is new stands under a name of its own, which older
code neither reads nor needs: `siem:process:*`, `siem:events:ahead`, `siem:events:floods`, `siem:cleanup`,
`siem:swept`, `siem:displaced*`, `siem:recorder:stall`, `siem:write-test`, `siem:integrations:deleted` and
`siem:api-keys*` are of release 0.2.0; `siem:integrations:changes`, `siem:idempotency:of:*`,
`siem:drafts:of:*`, `siem:audit*`, `siem:certificates`, `siem:events:aside*`, `siem:events:renumbered` and
`siem:tenants:full` came later, as did the fields `traceparent`, `events` and `frame` of an entry of
`siem:events`, and the last pair of a chunk, `traces`.
`frame` and `siem:chunk*` are written only while all living processes read them (`worker.broker.formats`).
Of a heartbeat, 0.1.0 reads the role up to the first colon, and the last word
of the value. `tests/upgrades` tries both directions.
"""

EVENTS = "siem:events"
CHUNKS = "siem:chunks"
CHUNK_PREFIX = "siem:chunk:"
AHEAD_LOCK = "siem:events:ahead"
FLOODS = "siem:events:floods"
FORMATS = "siem:formats"
FORMATS_HELD = "siem:formats:held"
FULL_TENANTS = "siem:tenants:full"
EVENTS_ASIDE = "siem:events:aside"
RENUMBERED = "siem:events:renumbered"
OUTCOMES = "siem:outcomes"
DEAD_LETTERS = "siem:dead-letters"
PARKED = "siem:parked"
UNRECORDABLE = "siem:unrecordable"
LEASES = "siem:leases"
INTEGRATIONS = "siem:integrations"
INTEGRATIONS_VERSION = "siem:integrations:version"
INTEGRATIONS_CHANGES = "siem:integrations:changes"
CONFLICTS = "siem:integrations:conflicts"
DELETED = "siem:integrations:deleted"
CERTIFICATES = "siem:certificates"
LEDGER = "siem:ledger"
EPOCH = "siem:epoch"
DISPLACED = "siem:displaced"
MARKER_LOCK = "siem:marker"
SWEEPER_LOCK = "siem:sweeper"
CLEANUP_LOCK = "siem:cleanup"
SWEPT = "siem:swept"
REPLAYER_LOCK = "siem:replayer"
RETENTION_LOCK = "siem:retention"
RETENTION_REFUSED = "siem:retention:refused"
UNPARKER_LOCK = "siem:unparker"
REPLAYS = "siem:replays"
AUDIT = "siem:audit"
AUDIT_INBOX = "siem:audit:inbox"
AUDIT_LOCK = "siem:audit:publisher"
HEALTH = "siem:health"
HEALTH_STATES = "siem:health:states"
HEALTH_UNSENT = "siem:health:untold"
HEALTH_LOCK = "siem:health:watch"
COUNTERS = "siem:counters"
API_KEYS = "siem:api-keys"
API_KEYS_REVOKED = "siem:api-keys:revoked"
API_KEYS_CONFIRMED = "siem:api-keys:confirmed"
API_KEYS_PROVED = "siem:api-keys:proved"
RECORDER_STALL = "siem:recorder:stall"
WRITE_TEST = "siem:write-test"
PREFLIGHT_PREFIX = "siem:preflight:"
ALIVE_PREFIX = "siem:alive:"
PROCESS_PREFIX = "siem:process:"
CELERY_PREFIX = "siem:celery:"
BACKLOG_PREFIX = "siem:backlog:"
SLOT_PREFIX = "siem:slot:"
STATE_PREFIX = "siem:state:"

ROUTER_GROUP = "router"
RECORDER_GROUP = "recorder"
DELIVERY_GROUP = "delivery"


def urgent(integration_id: str) -> str:
    """Name the stream of what must not wait."""
    return f"{BACKLOG_PREFIX}{integration_id}:urgent"


def bulk(integration_id: str) -> str:
    """Name the stream of what may wait."""
    return f"{BACKLOG_PREFIX}{integration_id}:bulk"


def chunk(chunk_id: str) -> str:
    """Name the events of a chunk that several integrations want."""
    return f"{CHUNK_PREFIX}{chunk_id}"


def state_key(integration_id: str) -> str:
    """Name the hash of an integration's limits and counts."""
    return f"{STATE_PREFIX}{integration_id}"


def slot_prefix(integration_id: str) -> str:
    """Name the hashes of an integration's slots, less the number."""
    return f"{SLOT_PREFIX}{integration_id}:"


def volume(hour: int, tenant_id: str) -> str:
    """Name what a tenant published in one hour, counted in hours since 1970 UTC."""
    return f"siem:volume:{hour}:{tenant_id}"


def session(digest: str) -> str:
    """Name what is known of one session, by the digest of its token in hexadecimal."""
    return f"siem:session:{digest}"


def draft(digest: str) -> str:
    """Name what was typed into a form and not saved, by the digest of the form's name in hexadecimal."""
    return f"siem:draft:{digest}"


def draft_index(digest: str) -> tuple[str, str]:
    """Name which drafts are one tenant's, and how many bytes they take; by the tenant's digest."""
    return f"siem:drafts:of:{digest}", f"siem:drafts:of:{digest}:bytes"


def idempotency(digest: str) -> str:
    """Name what was answered to a key that a client chose, by the digest of tenant, purpose and key."""
    return f"siem:idempotency:{digest}"


def idempotency_index(digest: str) -> tuple[str, str]:
    """Name which of these answers are one tenant's, and how many bytes they take; by the tenant's digest."""
    return f"siem:idempotency:of:{digest}", f"siem:idempotency:of:{digest}:bytes"


def alive(role: str, identity: str) -> str:
    """Name the heartbeat of one process in one role."""
    return f"{ALIVE_PREFIX}{role}:{identity}"


def process(identity: str) -> str:
    """Name what one process reports of itself."""
    return f"{PROCESS_PREFIX}{identity}"
