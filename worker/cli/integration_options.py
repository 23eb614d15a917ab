"""What an integration is made of, as options of the command line, section by section.

Defaults and bounds are those of the models; what was given is read in `worker.cli.integration_form`.
"""

from functools import partial
from pathlib import Path
from typing import Any

import click

from worker.cli.field_options import FormOption, field_option
from worker.integrations import DESTINATION_TYPES, ApiKeyAuth, SyslogCef
from worker.integrations.webhook import MOST_HEADERS
from worker.model.events import EventType

BEARER, API_KEY, NO_AUTH = "bearer", "api-key", "none"
TLS = "TLS"

_TYPES = [event_type.value for event_type in EventType]
_SPLUNK, _WEBHOOK = ("splunk_hec",), ("webhook",)

_splunk = partial(FormOption, section="Splunk HEC (--type splunk_hec)", types=_SPLUNK)
_splunk_field = partial(field_option, section="Splunk HEC (--type splunk_hec)")
_syslog_field = partial(field_option, section="Syslog CEF (--type syslog_cef)")
_webhook = partial(FormOption, section="Webhook (--type webhook)", types=_WEBHOOK)
_webhook_field = partial(field_option, section="Webhook (--type webhook)")
_tls = partial(FormOption, section=TLS)
_FILE: dict[str, Any] = {
    "metavar": "FILE",
    "type": click.Path(exists=True, dir_okay=False, allow_dash=True, path_type=Path),
}

_GENERAL = (
    FormOption(
        "--name",
        required=True,
        metavar="NAME",
        gives=["name"],
        help="A name of your choice, unique in the tenant.",
    ),
    FormOption(
        "--url",
        required=True,
        metavar="URL",
        gives=["url"],
        help="Where the SIEM listens: https://splunk.example.com:8088/services/collector/event, "
        "syslog://siem:514 (TCP), syslog+udp://siem:514, syslog+tls://siem:6514, "
        "https://endpoint.example.com/webhook. Of a webhook, the values of a query are kept as secrets.",
    ),
    FormOption(
        "--type",
        "kind",
        type=click.Choice(DESTINATION_TYPES),
        gives=["type"],
        help="What kind of SIEM it is. Left out, the url tells: syslog is syslog_cef, and a path with "
        "/services/collector is splunk_hec.",
    ),
    field_option(
        "tenant_id", "--tenant", "Whose events it gets: those with this tenant_id", metavar="TENANT"
    ),
    FormOption(
        "--event-type",
        "event_types",
        metavar="TYPE",
        multiple=True,
        type=click.Choice(_TYPES),
        gives=["event_types"],
        help=f"An event type to deliver; repeat it for several: {', '.join(_TYPES)}. "
        "Left out, all but policy.allow.",
    ),
    FormOption("--all-events", is_flag=True, help="Deliver every event type, policy.allow too."),
    FormOption(
        "--disabled",
        is_flag=True,
        help="Create it disabled: no event is collected for it until `siem integrations enable`.",
    ),
    FormOption(
        "--paused",
        is_flag=True,
        help="Create it paused: its events are collected, and wait until `siem integrations resume`.",
    ),
    FormOption(
        "--token-file",
        **_FILE,
        gives=["token", "auth.token"],
        types=(*_SPLUNK, *_WEBHOOK),
        help="Read Splunk's HEC token, or a webhook's bearer token, from a file, or from standard input "
        "with -. Left out where one is needed, you are asked for it.",
    ),
    FormOption(
        "--token",
        metavar="TOKEN",
        gives=["token", "auth.token"],
        types=(*_SPLUNK, *_WEBHOOK),
        help="The token itself. Others on this machine can see it while the command runs: "
        "rather use --token-file.",
    ),
    field_option(
        "max_retries", "--max-retries", "How often an event is sent again before it becomes a dead letter"
    ),
    field_option(
        "redrive",
        "--redrive/--no-redrive",
        "Whether what died in an outage of the SIEM is sent again once it is well",
    ),
    field_option("batch_events", "--batch-events", "The most events that are sent together"),
    field_option("batch_bytes", "--batch-bytes", "The most bytes that are sent together, before compression"),
    field_option(
        "timeout_seconds",
        "--timeout",
        "How long one request may take in all; with syslog, how long a receiver may take no byte",
    ),
)

_HEC = (
    _splunk_field(
        "index", "--index", "The Splunk index; left out, the default one of the token", metavar="INDEX"
    ),
    _splunk_field("source_type", "--source-type", "The sourcetype of each event"),
    _splunk_field("host", "--host", "The host of each event"),
    _splunk_field("source", "--source", "The source of each event"),
    _splunk(
        "--field",
        "fields",
        metavar="NAME=VALUE",
        multiple=True,
        gives=["fields"],
        help="A field to index with every event; repeat it for several.",
    ),
    _splunk_field("gzip", "--gzip/--no-gzip", "Whether to compress requests"),
    _splunk_field(
        "use_ack",
        "--use-ack",
        "Count an event as delivered once Splunk has indexed it; the token must have indexer "
        "acknowledgement enabled",
        is_flag=True,
    ),
    _splunk_field(
        "ack_timeout_seconds",
        "--ack-timeout",
        "With --use-ack: how long Splunk is asked before what it has not indexed is sent again",
    ),
)

_tcp_limit = SyslogCef(url="syslog://siem").message_limit
_udp_limit = SyslogCef(url="syslog+udp://siem").message_limit

_CEF = (
    _syslog_field("facility", "--facility", "The syslog facility"),
    _syslog_field("header", "--header", "The syslog header before each CEF message"),
    _syslog_field(
        "framing",
        "--framing",
        "How messages are told apart; left out, by newline over TCP and octet_counted over TLS",
    ),
    _syslog_field(
        "hostname",
        "--hostname",
        "The host name in the syslog header; with rfc3164 letters, digits, '.', '_' and '-' alone",
        metavar="NAME",
    ),
    _syslog_field(
        "time_zone",
        "--time-zone",
        "With --header rfc3164, whose times name no zone: the one in which the receiver reads them, like "
        "Europe/Berlin",
        metavar="ZONE",
    ),
    _syslog_field("send_src", "--src/--no-src", "Whether CEF's src carries the id of the agent"),
    _syslog_field(
        "max_message_bytes",
        "--max-message-bytes",
        f"The longest message, header included; left out, {_tcp_limit}, and over UDP {_udp_limit}",
    ),
    _syslog_field(
        "confirm_by_shutdown",
        "--confirm-by-shutdown",
        "Send each batch over a connection of its own, and count it as delivered once the receiver has "
        "closed that in answer to our end; not over UDP",
        is_flag=True,
    ),
    _syslog_field(
        "max_datagrams_per_second", "--max-datagrams-per-second", "Over UDP: how fast a batch is sent"
    ),
)

_HOOK = (
    _webhook(
        "--auth",
        type=click.Choice([NO_AUTH, BEARER, API_KEY]),
        gives=["auth"],
        help="How we prove who we are: not at all, by Authorization: Bearer (--token-file), or by a key in "
        "a header (--api-key-file). Left out, told by those.",
    ),
    _webhook(
        "--api-key-file",
        **_FILE,
        gives=["auth.value"],
        help="Read the API key from a file, or - for standard input. Left out with --auth api-key, "
        "you are asked for it.",
    ),
    _webhook(
        "--api-key-header",
        metavar="NAME",
        gives=["auth.header"],
        help=f"The header that carries the API key.  [default: {ApiKeyAuth.model_fields['header'].default}]",
    ),
    _webhook(
        "--add-header",
        metavar="'NAME: VALUE'",
        multiple=True,
        gives=["headers"],
        help=f"A header to add to each request, up to {MOST_HEADERS} in all; repeat it for several. "
        "For a secret, rather use --header-file.",
    ),
    _webhook(
        "--header-file",
        multiple=True,
        **_FILE,
        gives=["headers"],
        help="Read headers to add from a file, or - for standard input: one `NAME: VALUE` a line.",
    ),
    _webhook(
        "--signing-secret-file",
        multiple=True,
        **_FILE,
        gives=["signing_secrets"],
        help="Sign each request as Standard Webhooks say, with the whsec_ secret in this file (or - for "
        "standard input); `siem integrations new-secret` makes one. While the endpoint changes over, give "
        "two, the newest first.",
    ),
    _webhook_field(
        "body", "--body", "What a request carries: one event, a JSON array of events, or a line for each"
    ),
    _webhook_field("connections", "--connections", "How many requests of one batch may be under way at once"),
)

_SECURITY = (
    _tls(
        "--ca-file",
        **_FILE,
        gives=["ca_pem"],
        help="The CA that signed the SIEM's certificate, or that certificate itself, in PEM; left out, the "
        "public CAs.",
    ),
    _tls(
        "--client-cert-file",
        **_FILE,
        gives=["client_cert_pem"],
        help="A client certificate to present, in PEM.",
    ),
    _tls(
        "--client-key-file", **_FILE, gives=["client_key_pem"], help="The client certificate's key, in PEM."
    ),
    field_option(
        "tls_server_name",
        "--tls-server-name",
        "The name that the SIEM's certificate must carry, and that it is asked for; left out, the url's host",
        section=TLS,
        metavar="NAME",
    ),
    _tls(
        "--insecure",
        is_flag=True,
        gives=["verify_tls"],
        help="Do not verify the SIEM's certificate: anybody can pose as it.",
    ),
)


#: In the order of the help.
INTEGRATION_OPTIONS = (*_GENERAL, *_HEC, *_CEF, *_HOOK, *_SECURITY)
