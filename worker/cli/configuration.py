"""The settings, as every command reads them first: with them, the log has its level."""

from worker.logging import log_to_stderr
from worker.settings import Settings, settings


def configuration() -> Settings:
    """Read the environment, and log to stderr as it says. Raises InvalidSetting.

    Commands call it when they run, not when they are asked for help: help must not need a valid setting.
    """
    read = settings()
    log_to_stderr(read.log_level)
    return read
