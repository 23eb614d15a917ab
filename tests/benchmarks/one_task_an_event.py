"""The obvious alternative: one Celery task for every event, which posts it with `requests`.

Run as a program it fills the queue; as a Celery app it empties it. No record, no batch, no dead letter.
"""

import os
import sys
import time
from typing import Any

import requests
from celery import Celery

from worker.samples import sample_events

app = Celery("one_task_an_event", broker=os.environ["ALTERNATIVE_REDIS"])
app.conf.update(task_ignore_result=True, task_acks_late=True, worker_prefetch_multiplier=4)

_session = requests.Session()


@app.task(name="deliver", autoretry_for=(requests.RequestException,), max_retries=3, retry_backoff=True)
def deliver(event: dict[str, Any]) -> None:
    """Post one event to the HTTP Event Collector."""
    envelope = {"time": time.time(), "sourcetype": "mitrity:governance", "event": event}
    headers = {"Authorization": "Splunk secret-token"}
    _session.post(
        os.environ["ALTERNATIVE_URL"], json=envelope, headers=headers, timeout=10
    ).raise_for_status()


if __name__ == "__main__":
    for sample in sample_events(int(sys.argv[1])):
        deliver.delay(sample)
