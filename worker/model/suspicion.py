"""Which events of a batch are sent now: of one that workers die of, or that tries a destination, not all.

A batch that workers die of is sent in ever smaller parts, until the event that ends them is known. A probe is
one event: a destination that takes it, and answers so that nobody can tell, would else get the whole batch
with every probe.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from worker.model.deliveries import SETTLED, Batch


@contextmanager
def only_part(batch: Batch) -> Iterator[None]:
    """Leave open, while the block runs, only the events of the batch that are to be sent now.

    They are the first `batch.suspects` of its open ones (0 means all). A probe is the first suspect, or else
    the event that the fewest requests have carried.
    """
    places = batch.open_places()
    if batch.probing and not batch.suspects:
        places.sort(key=batch.request_counts.__getitem__)
    most = 1 if batch.probing else batch.suspects or len(places)
    hidden = places[most:]
    counts = [batch.request_counts[place] for place in hidden]
    for place in hidden:
        batch.request_counts[place] = SETTLED
    try:
        yield
    finally:
        for place, count in zip(hidden, counts, strict=True):
            batch.request_counts[place] = count
