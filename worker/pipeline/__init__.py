"""The journey of an event: router, delivery, recorder, sweeper."""
