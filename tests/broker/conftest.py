"""Backlogs of a Redis that is empty when a test begins."""

import pytest
import redis

from tests.broker.sending import TIMING
from worker.broker.backlog import Backlog


@pytest.fixture
def backlog(client: redis.Redis) -> Backlog:
    """Give the backlogs of an empty Redis."""
    return Backlog(client, TIMING)
