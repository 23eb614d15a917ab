"""How the processes log: one line an event, and nothing from libraries that repeat what we say better."""

import logging

#: These report at INFO what is no news, or at WARNING what may hold a customer's address.
_HUSHED = {"alembic": logging.WARNING, "urllib3": logging.ERROR, "uvicorn": logging.WARNING}


def log_to_stderr(level: str) -> None:
    """Log to standard error, from this level up (DEBUG, INFO, WARNING, ERROR)."""
    logging.basicConfig(level=level.upper(), format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    hush_libraries()


def hush_libraries() -> None:
    """Raise the level of libraries that talk too much; for a process whose logging Celery sets up."""
    for name, level in _HUSHED.items():
        logging.getLogger(name).setLevel(level)
