"""What an integration is made of, as options of the command line, section by section.

What a type of destination has is made of its configuration (`worker.cli.field_options`); what was given is
read in `worker.cli.integration_form`.
"""

import click

from worker.cli.field_options import FormOption, common_option, destination_options
from worker.integrations import CONFIGS
from worker.integrations.fields import ConfigField, fields_of
from worker.integrations.integration import Integration
from worker.integrations.secrets import SecretUrl
from worker.model.events import EventType

#: The fields that every integration has an option of its own for, by name.
COMMON_FIELDS = {
    field.name: field for field in fields_of(Integration, ("name", "tenant_id", "max_retries", "redrive"))
}
_TYPES = [event_type.value for event_type in EventType]


def address_examples(kind: str) -> list[str]:
    """Return a url of each way to reach a destination of this type."""
    return [address.partition(" ")[0] for address in _url_field(kind).about.addresses]


def _url_field(kind: str) -> ConfigField:
    return next(field for field in fields_of(CONFIGS[kind]) if field.name == "url")


def _url_help() -> str:
    addresses = [address for kind in CONFIGS for address in _url_field(kind).about.addresses]
    secret = [kind for kind, config in CONFIGS.items() if config.model_fields["url"].annotation is SecretUrl]
    of_queries = (
        f" Of a {' or a '.join(secret)}, the values of a query are kept as secrets." if secret else ""
    )
    return f"Where the SIEM listens: {', '.join(addresses)}.{of_queries}"


def _type_help() -> str:
    schemes = [scheme for config in CONFIGS.values() for scheme in config.SCHEMES]
    ways = [
        *(
            f"{scheme} is {kind}"
            for kind, config in CONFIGS.items()
            for scheme in list(config.SCHEMES)[:1]
            if schemes.count(scheme) == 1
        ),
        *(
            f"a path with {config.PATH_MARK} is {kind}"
            for kind, config in CONFIGS.items()
            if config.PATH_MARK
        ),
    ]
    derived = ", and ".join([", ".join(ways[:-1]), ways[-1]]) if len(ways) > 1 else "".join(ways)
    return f"What kind of SIEM it is. Left out, it is derived from the url: {derived}."


_OF_TYPES = destination_options()
_URL = FormOption(
    "--url", required=True, metavar="URL", sources=_OF_TYPES.pop("--url").sources, help=_url_help()
)
_GENERAL = (
    common_option(COMMON_FIELDS["name"], required=True),
    _URL,
    FormOption("--type", "kind", type=click.Choice(list(CONFIGS)), gives=["type"], help=_type_help()),
    common_option(COMMON_FIELDS["tenant_id"]),
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
)
_SHARED = [option for option in _OF_TYPES.values() if option.section == _URL.section]
_OWN = [option for option in _OF_TYPES.values() if len(option.types) == 1]
_OTHERS = [option for option in _OF_TYPES.values() if option not in _SHARED and option not in _OWN]


def _is_advanced(option: FormOption) -> bool:
    return option.sources[0].field.about.advanced


#: In the order of the help.
INTEGRATION_OPTIONS = (
    *_GENERAL,
    *(option for option in _SHARED if not _is_advanced(option)),
    common_option(COMMON_FIELDS["max_retries"]),
    common_option(COMMON_FIELDS["redrive"]),
    *(option for option in _SHARED if _is_advanced(option)),
    *_OWN,
    *_OTHERS,
)
