"""No tenant has all threads of a worker, one that is alone has what was set, and no order waits for ever."""

import random
from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from worker.model.orders import WorkOrder
from worker.pipeline.thread_shares import MANY, TenantOrder, ThreadShares, pool_size


def order(tenant: str, number: int = 0, slot: int = 1, epoch: int = 1) -> TenantOrder:
    """Make an order for one of the tenant's integrations."""
    return TenantOrder(WorkOrder(f"{tenant}-{number}", slot, epoch), "webhook", tenant)


def taken(shares: ThreadShares, tenant: str, most: int = 10_000) -> int:
    """Take threads for a tenant until it is refused one; return how many it got."""
    return next((number for number in range(most) if not shares.take(order(tenant, number))), most)


def test_a_tenant_alone_has_all_that_were_set() -> None:
    """What is kept for others is beside them."""
    settings = [*range(1, 40), 100, 128, 1000, 1024]

    assert [taken(ThreadShares(pool_size(threads)), "a") for threads in settings] == settings


def test_busy_threads_are_counted_by_queue() -> None:
    """Those that carry out an order; one that waits for a thread holds none."""
    shares = ThreadShares(pool_size(2))
    held = [order("a", number) for number in range(2)]
    other = TenantOrder(WorkOrder("b-0", 1, 1), "splunk_hec", "b")
    for one in (*held, order("a", 9), other):
        shares.take(one)
    busy, waiting = shares.busy(), shares.waiting()
    shares.give_back(held[0])
    shares.give_back(other)

    assert (shares.threads, waiting) == (3, 1)
    assert busy == {"webhook": 2, "splunk_hec": 1}
    assert shares.busy() == {"webhook": 1}


def test_the_next_tenant_finds_a_free_thread() -> None:
    """Although tenants have taken what they could get, one after the other."""
    for greedy in (1, 2, 3, 4):
        shares = ThreadShares(pool_size(128))
        held = sum(taken(shares, f"greedy-{number}") for number in range(greedy))

        assert held < pool_size(128), greedy
        assert shares.take(order("late")), greedy


def test_two_that_come_one_after_the_other_are_alike_in_the_end() -> None:
    """The first gives back what it has beyond its share, batch by batch."""
    shares = ThreadShares(pool_size(128))
    running = [order("a", number) for number in range(taken(shares, "a"))]
    held = Counter({"a": len(running)})
    waits = [order(tenant, number) for tenant in "ab" for number in range(1000, 1300)]
    rng = random.Random(7)
    for one in waits:
        if shares.take(one):
            running.append(one)
            held[one.tenant_id] += 1
    for _ in range(2000):
        done = running.pop(rng.randrange(len(running)))
        held[done.tenant_id] -= 1
        for following in [*shares.give_back(done), order(done.tenant_id, rng.randrange(1000), 2)]:
            if shares.take(following):
                running.append(following)
                held[following.tenant_id] += 1

    assert abs(held["a"] - held["b"]) <= held.total() // 10


def test_a_tenants_integrations_take_turns() -> None:
    """The one that holds fewest threads comes first, however many orders another has before it."""
    shares = ThreadShares(pool_size(2))
    shares.take(first := order("a", 0, slot=1))
    shares.take(order("a", 0, slot=2))
    waits = [order("a", 0, slot=3), order("a", 0, slot=4), order("a", 1)]
    assert not any(map(shares.take, waits))

    assert shares.give_back(first) == [order("a", 1)]


def test_the_newest_order_of_a_slot_is_set_aside() -> None:
    """One that is delivered again finds its lease gone: for it alone the slot would idle."""
    shares = ThreadShares(pool_size(1))
    shares.take(busy := order("a"))
    for epoch in (4, 5, 4):
        assert not shares.take(order("a", 1, epoch=epoch))
    assert shares.keep(order("a", 1, epoch=3), follows=False)

    assert shares.give_back(busy) == [order("a", 1, epoch=5)]


def test_an_older_order_that_gets_a_thread_leaves_the_newer_one() -> None:
    """It ends at once, and the newer one goes on."""
    shares = ThreadShares(pool_size(1))
    shares.take(busy := order("a"))
    assert not shares.take(order("a", 1, epoch=5))
    shares.resize(pool_size(3))
    assert shares.take(older := order("a", 1, epoch=4))

    assert shares.give_back(busy) == [order("a", 1, epoch=5)]
    assert shares.take(newer := order("a", 1, epoch=5))
    assert shares.waiting() == 0
    assert shares.give_back(older) == []
    assert shares.give_back(newer) == []


def test_what_follows_stays_where_a_tenant_holds_many_threads() -> None:
    """What is to run beside it becomes a message, which any worker takes at once."""
    shares = ThreadShares(pool_size(128))
    for number in range(MANY):
        assert not shares.keep(order("a", number), follows=True)
        shares.take(order("a", number))

    assert not shares.keep(order("a", 100), follows=False)
    assert shares.keep(order("a", 1), follows=True)
    assert not shares.keep(order("b", 1), follows=True)
    assert shares.give_back(order("a", 1)) == [order("a", 1)]


def test_an_order_that_comes_twice_waits_once() -> None:
    """The sweeper issues again what was not taken in time; whichever is taken, none is left behind."""
    shares = ThreadShares(pool_size(1))
    shares.take(first := order("a"))
    assert not shares.take(order("a", 1))
    assert not shares.take(order("a", 1))
    assert shares.waiting() == 1

    assert shares.give_back(first) == [order("a", 1)]
    assert shares.waiting() == 0


def test_a_process_that_ends_keeps_nothing() -> None:
    """What waits is handed out once, and nothing more is kept back."""
    shares = ThreadShares(pool_size(1))
    shares.take(order("a"))
    shares.take(order("a", 1))

    assert shares.close() == [order("a", 1)]
    assert shares.take(order("a", 2))
    assert shares.close() == []


@given(
    threads=st.integers(1, 12),
    steps=st.lists(st.tuples(st.sampled_from("abcd"), st.integers(0, 5), st.integers(1, 3)), max_size=80),
    seed=st.randoms(use_true_random=False),
)
def test_every_order_gets_its_thread(
    threads: int, steps: list[tuple[str, int, int]], seed: random.Random
) -> None:
    """In whatever order they come and end; no more run than there are threads."""
    shares = ThreadShares(pool_size(threads))
    running: list[TenantOrder] = []
    done: set[tuple[str, int]] = set()

    def end_one() -> None:
        ended = running.pop(seed.randrange(len(running)))
        done.add(ended.slot)
        running.extend(one for one in shares.give_back(ended) if shares.take(one))

    for step in steps:
        # Celery gives a process no more than it has threads.
        while len(running) >= pool_size(threads):
            end_one()
        one = order(*step)
        if shares.take(one):
            running.append(one)
        assert len(running) <= pool_size(threads)
    while running:
        end_one()

    assert shares.waiting() == 0
    assert done == {order(*step).slot for step in steps}
