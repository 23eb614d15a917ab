"""The addresses of an HTTP Event Collector, from whichever of them an integration was given.

People copy what Splunk's pages show: the collector itself, the address of events, raw data, health or
acknowledgements, with or without a version behind it, on Splunk Enterprise (port 8088) as on Splunk Cloud
(`http-inputs-<stack>.splunkcloud.com:443`). All lie below one path (Splunk: "HTTP Event Collector REST
API endpoints").
"""

from urllib.parse import urlsplit, urlunsplit

_COLLECTOR = "/services/collector"


def event_url(url: str) -> str:
    """Return the address that takes JSON events."""
    return f"{_collector(url)}/event"


def ack_url(url: str, channel: str) -> str:
    """Return the address that tells which requests of a channel are indexed."""
    return f"{_collector(url)}/ack?channel={channel}"


def _collector(url: str) -> str:
    """Keep scheme, host, port, and what a proxy has put before the collector's path."""
    parts = urlsplit(url)
    prefix, found, _ = parts.path.partition(_COLLECTOR)
    path = prefix if found else parts.path.rstrip("/")
    return urlunsplit((parts.scheme, parts.netloc, path + _COLLECTOR, "", ""))
