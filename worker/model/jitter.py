"""How far delays stray, so that what failed together does not come back together."""

import random

#: How far a delay may stray from what was reckoned, as a share of it.
JITTER = 0.2


def spread() -> float:
    """Return a factor for a delay: 1, give or take JITTER."""
    return random.uniform(1 - JITTER, 1 + JITTER)  # noqa: S311 - spreads load, guards nothing
