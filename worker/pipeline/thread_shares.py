"""Which tenant may take a further thread of a worker process, and which of its orders wait for one. Pure.

A destination that answers slowly and well holds its thread for as long as it likes: no circuit breaker
opens. So a tenant may hold at most three times as many threads as are free, as switches share out a buffer
("dynamic thresholds": Choudhury and Hahne, 1998). A tenant that is alone has three quarters of the pool, of
two greedy ones each has three sevenths, and some threads are free for the next.
"""

import threading
from collections import Counter
from dataclasses import dataclass
from itertools import islice

from worker.model.orders import WorkOrder

#: How many times the free threads a tenant may hold.
TIMES_THE_FREE = 3
#: A tenant that holds so many threads keeps its orders in the process.
MANY = 8
#: How many of a tenant's orders are looked at to find the one of the integration that holds fewest threads.
_LOOKED_AT = 256


def pool_size(threads: int) -> int:
    """Return how many threads a process needs so that a tenant alone may hold so many of them."""
    return -(-threads * (TIMES_THE_FREE + 1) // TIMES_THE_FREE)


@dataclass(frozen=True, slots=True)
class TenantOrder:
    """A work order, the type of its destination, and whose it is."""

    order: WorkOrder
    kind: str
    tenant_id: str

    @property
    def slot(self) -> tuple[str, int]:
        """The slot that it is for, which has one order at a time."""
        return self.order.integration_id, self.order.slot


class ThreadShares:
    """The threads of one process and the orders that wait for them; shared by these threads."""

    def __init__(self, threads: int) -> None:
        """Share out so many threads."""
        self._threads = threads
        self._lock = threading.Lock()
        self._held: Counter[str] = Counter()
        self._held_for: Counter[str] = Counter()
        self._held_by_kind: Counter[str] = Counter()
        self._waiting: dict[str, dict[tuple[str, int], TenantOrder]] = {}
        self._is_closed = False

    def resize(self, threads: int) -> None:
        """Share out another number of threads: that of the pool, once it is known."""
        self._threads = threads

    def take(self, order: TenantOrder) -> bool:
        """Take a thread for the order; if its tenant has its share, return False, and keep the order."""
        with self._lock:
            if self._is_closed or self._may_take(order.tenant_id, Counter()):
                if not self._has_newer(order):
                    self._remove(order.tenant_id, order.slot)
                self._hold(order, 1)
                return True
            self._set_aside(order)
            return False

    def keep(self, order: TenantOrder, *, follows: bool) -> bool:
        """Keep an order that a running one brought; False if it should become a message.

        It is kept where others of its tenant wait, or if it `follows` one that is about to give its thread
        back and the tenant holds many: its message would stand before the orders of others in Celery's queue.
        """
        with self._lock:
            goes_on = follows and self._held[order.tenant_id] >= MANY
            if self._is_closed or not (order.tenant_id in self._waiting or goes_on):
                return False
            self._set_aside(order)
            return True

    def give_back(self, order: TenantOrder) -> list[TenantOrder]:
        """Give the order's thread back; return the orders that may each take a thread now."""
        with self._lock:
            self._hold(order, -1)
            found, coming = list[TenantOrder](), Counter[str]()
            while following := self._next(coming):
                found.append(following)
                coming[following.tenant_id] += 1
            return found

    def has_plenty(self) -> bool:
        """Whether so many threads are free that some may wait for work: half of them, and no order waits.

        A tenant whose threads only wait then has its share of those that are free.
        """
        with self._lock:
            return not self._is_closed and not self._waiting and 2 * self._held.total() <= self._threads

    def close(self) -> list[TenantOrder]:
        """Return all orders that wait; from now on none does, for the process ends."""
        with self._lock:
            self._is_closed = True
            waiting = [order for orders in self._waiting.values() for order in orders.values()]
            self._waiting.clear()
            return waiting

    @property
    def threads(self) -> int:
        """How many threads there are in all."""
        return self._threads

    def busy(self) -> dict[str, int]:
        """Return how many threads carry out orders, by the type of their destinations."""
        with self._lock:
            return dict(self._held_by_kind)

    def waiting(self) -> int:
        """Count the orders that wait."""
        with self._lock:
            return sum(map(len, self._waiting.values()))

    def _hold(self, order: TenantOrder, change: int) -> None:
        for counts, name in (
            (self._held, order.tenant_id),
            (self._held_for, order.order.integration_id),
            (self._held_by_kind, order.kind),
        ):
            counts[name] += change
            if not counts[name]:
                del counts[name]

    def _may_take(self, tenant_id: str, coming: "Counter[str]") -> bool:
        """Whether the tenant may take a further thread, when these have come to theirs."""
        held = self._held[tenant_id] + coming[tenant_id]
        free = self._threads - self._held.total() - coming.total() - 1
        return not held or held < TIMES_THE_FREE * free

    def _next(self, coming: "Counter[str]") -> TenantOrder | None:
        """Take the next order from those that wait: of the tenant that holds fewest threads."""
        if self._held.total() + coming.total() >= self._threads:
            return None
        able = [tenant for tenant in self._waiting if self._may_take(tenant, coming)]
        if not able:
            return None
        tenant = min(able, key=lambda one: self._held[one] + coming[one])
        mine = self._waiting[tenant]
        slot = min(islice(mine, _LOOKED_AT), key=lambda one: self._held_for[one[0]])
        return self._remove(tenant, slot)

    def _set_aside(self, order: TenantOrder) -> None:
        if not self._has_newer(order):
            self._waiting.setdefault(order.tenant_id, {})[order.slot] = order

    def _has_newer(self, order: TenantOrder) -> bool:
        """Whether one of a later lease of its slot waits: an order may be delivered again, long after."""
        known = self._waiting.get(order.tenant_id, {}).get(order.slot)
        return known is not None and known.order.epoch > order.order.epoch

    def _remove(self, tenant_id: str, slot: tuple[str, int]) -> TenantOrder | None:
        mine = self._waiting.get(tenant_id)
        found = mine.pop(slot, None) if mine else None
        if not mine:
            self._waiting.pop(tenant_id, None)
        return found
