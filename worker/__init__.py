"""Governance events, from the broker into every SIEM that subscribed.

An event is born with one `XADD` to the stream `siem:events`. From there it travels:

1. `worker.pipeline.router` reads it and appends it to the backlog of each integration that wants it.
2. `worker.pipeline.delivery` claims a batch of a backlog, formats it, sends it, judges the reply, and settles
   it in Redis: delivered, to be retried, or dead.
3. `worker.pipeline.recorder` writes what was settled to the SQL ledger: deliveries, dead letters, counts.
4. `worker.pipeline.sweeper` finds what a crashed process left behind and puts it back on the way.

The steps hand over by Redis; none calls another. `background` holds what runs beside them: replays,
retention, health, the doctor. Imports run one way: from the doors (`cli`, `pages`, `api`, `demo`, `up`) by
`views` to these; from there to `destinations`, `broker` and `ledger`, to `transports` and `vault`, to
`integrations` and `model`.
"""

#: The release. Processes report it to each other, and it is the version of the package.
__version__ = "0.2.0"
