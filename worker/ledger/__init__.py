"""The ledger: integrations, deliveries, dead letters and counts, in SQLite or PostgreSQL.

The only code that speaks SQL. The delivery path never waits for it: outcomes rest in Redis until
the recorder has written them here, and integrations are read from their copy in Redis.
"""
