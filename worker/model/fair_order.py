"""Whose replay goes on next: fair between tenants, and within a tenant fair between its replays. Pure."""

from collections.abc import Callable, Iterable

from worker.model.replays import Replay


class FairOrder:
    """Remembers when each replay had its last turn, counted in turns."""

    def __init__(self) -> None:
        """Begin with replays that had no turn yet."""
        self._turns = 0
        self._last: dict[str, int] = {}

    def round(self, replays: Iterable[Replay], tenant_of: Callable[[Replay], str]) -> list[Replay]:
        """Return one replay of each tenant, the one that waited longest; so come the tenants as well."""
        chosen: dict[str, Replay] = {}
        for one in self._waiting_longest(replays):
            chosen.setdefault(tenant_of(one), one)
        return list(chosen.values())

    def next_of(self, replays: Iterable[Replay]) -> list[Replay]:
        """Return the replay that waited longest, if there is any."""
        return self._waiting_longest(replays)[:1]

    def had_turn(self, replay: Replay) -> None:
        """Note that a replay had its turn."""
        self._turns += 1
        self._last[replay.id] = self._turns

    def forget_all_but(self, replays: Iterable[Replay]) -> None:
        """Keep no turns of replays that have ended."""
        running = {replay.id for replay in replays}
        self._last = {one: turn for one, turn in self._last.items() if one in running}

    def _waiting_longest(self, replays: Iterable[Replay]) -> list[Replay]:
        return sorted(replays, key=lambda one: self._last.get(one.id, 0))
