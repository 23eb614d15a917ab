"""A batch that workers die of is sent in ever smaller parts, until the event that ends them is known."""

from collections.abc import Iterator
from contextlib import contextmanager

from worker.model.deliveries import SETTLED, Batch


@contextmanager
def only_suspects(batch: Batch) -> Iterator[None]:
    """Leave open, while the block runs, only the first `batch.suspects` of its open events; 0 means all."""
    hidden = batch.open_places()[batch.suspects :] if batch.suspects else []
    counts = [batch.carried[place] for place in hidden]
    for place in hidden:
        batch.carried[place] = SETTLED
    try:
        yield
    finally:
        for place, count in zip(hidden, counts, strict=True):
            batch.carried[place] = count
