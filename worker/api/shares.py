"""Divides what there is among those who ask for it: nobody may hold more than is still free.

One alone gets half of it, two get a third each, and however many take all that they can, there is as much
left for who comes next. (Dynamic thresholds, as switches divide their memory among ports: Choudhury and
Hahne, IEEE/ACM Transactions on Networking 6(2), 1998.)
"""

from collections import Counter
from collections.abc import Hashable, Iterable


class Shares:
    """So much of something; for one event loop."""

    def __init__(self, total: int) -> None:
        """Begin with all of it free."""
        self.total = total
        self.held = 0
        self._of: Counter[Hashable] = Counter()

    @property
    def is_overdrawn(self) -> bool:
        """Whether more is held than there is."""
        return self.held > self.total

    def exceeds(self, holder: Hashable, parts: int = 1) -> bool:
        """Whether this holder has more than is free, or than one of so many parts of it."""
        return self._of.get(holder, 0) * parts > self.total - self.held

    def take(self, amount: int, holders: Iterable[Hashable]) -> None:
        """Give so much to these holders, who count as one; if it `exceeds` their shares, give it back."""
        self.held += amount
        for holder in holders:
            self._of[holder] += amount

    def give_back(self, amount: int, holders: Iterable[Hashable]) -> None:
        """Take back what `take` gave to the same holders."""
        self.held -= amount
        for holder in holders:
            self._of[holder] -= amount
            if not self._of[holder]:
                del self._of[holder]
