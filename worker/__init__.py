"""Governance events, from the broker into every SIEM that subscribed.

An event is born with one `XADD` to the stream `siem:events`. From there it travels:

1. `worker.pipeline.router`     reads it and appends it to the backlog of each integration that wants it.
2. `worker.pipeline.delivery`      claims a batch of a backlog, formats it, sends it, judges the reply, and
                       settles it in Redis: delivered, to be retried, or dead.
3. `worker.pipeline.recorder`   writes what was settled to the SQL ledger: deliveries, dead letters, counts.
4. `worker.pipeline.sweeper`    finds what a dead process left behind and puts it back on the way.

Redis is the baton between the steps; no step calls another. Below the steps lie the edges (`broker`,
`ledger`, `transports`, `destinations`), the pure `formats`, and the words of the trade in `model`.
Above them the doors, where people and programs come in: `cli`, `up` and `demo`.
"""

#: The release. Processes tell it to each other, and it is the version of the package.
__version__ = "0.2.0"
