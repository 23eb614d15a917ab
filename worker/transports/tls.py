"""TLS as a client: the options of an integration come in, an `ssl.SSLContext` goes out.

That context alone decides which CAs we trust and who we say we are; which name the server's certificate must
carry is said at each connection (`TlsOptions.server_name`).
"""

import contextlib
import functools
import os
import ssl
import tempfile
from collections.abc import Iterator, Mapping
from typing import Any

import certifi
from cryptography.exceptions import UnsupportedAlgorithm
from pydantic import ValidationError

from worker.integrations import TlsOptions
from worker.integrations.integration import Integration, at_once, parse_integration
from worker.integrations.secrets import is_secret_readable
from worker.model.errors import InvalidInput, InvalidIntegration
from worker.transports.certificates import KEY_HINT, certificates, private_key
from worker.transports.deadline import DeadlineTlsSocket
from worker.transports.shortages import shortage


def client_context(options: TlsOptions) -> ssl.SSLContext:
    """Make the context that the options ask for: TLS 1.2 or later, certifi's roots or only `ca_pem`.

    Its sockets obey the deadline in force. Do not alter it: contexts without a CA or a certificate
    of their own are shared. Raises InvalidIntegration naming the field whose PEM cannot be used, and
    OutOfResources where the files that OpenSSL reads cannot be opened.
    """
    try:
        return _context_for(options)
    except ssl.SSLError:
        raise  # its numbers are OpenSSL's
    except OSError as error:
        lack = shortage(error.errno or 0, f"cannot prepare TLS: {error.strerror}")
        raise lack or error from None


def check_tls(options: TlsOptions) -> None:
    """Raise InvalidIntegration naming the field whose PEM cannot be used, OutOfResources as above.

    A private key that none of SIEM_SECRET_KEYS opens is left unchecked, and its certificate with it.
    """
    if options.client_key_pem is not None and not is_secret_readable(options.client_key_pem):
        options = options.model_copy(update={"client_cert_pem": None, "client_key_pem": None})
    client_context(options)


def judged_whole(
    document: dict[str, Any], hint: str = "see `siem integrations create --help`"
) -> Integration:
    """Read an integration from plain values, and try its certificates and keys, too.

    Raises InvalidIntegration that names every field that is wrong, and OutOfResources as above.
    """
    wrong: list[InvalidInput] = []
    integration = None
    try:
        integration = parse_integration(document, hint)
    except InvalidIntegration as error:
        wrong += error.all
    blamed = {one.field for one in wrong}
    wrong += (one for one in _of_tls(document["destination"]) if one.field not in blamed)
    if integration is None or wrong:
        raise at_once(wrong)
    return integration


def _of_tls(destination: Mapping[str, Any]) -> Iterator[InvalidIntegration]:
    """Yield what is wrong with the PEMs of a destination, as far as they can be read."""
    given = {name: destination[name] for name in TlsOptions.model_fields if name in destination}
    try:
        options = TlsOptions.model_validate(given)
    except ValidationError:
        return
    for alone in ({"client_cert_pem": None, "client_key_pem": None}, {"ca_pem": None}):
        try:
            check_tls(options.model_copy(update=alone))
        except InvalidIntegration as error:
            yield error


def _context_for(options: TlsOptions) -> ssl.SSLContext:
    if options.ca_pem is None and options.client_cert_pem is None:
        return _shared_context(options.verify_tls)
    context = _blank_context(verify=options.verify_tls)
    if options.ca_pem is None:
        context.load_verify_locations(certifi.where())
    else:
        _trust_only(context, options.ca_pem)
    if options.client_cert_pem is not None and options.client_key_pem is not None:
        _present(context, options.client_cert_pem, options.client_key_pem.get_secret_value())
    return context


# A thousand integrations must not mean a thousand copies of the world's root certificates.
@functools.cache
def _shared_context(verify: bool) -> ssl.SSLContext:  # noqa: FBT001 - functools.cache wants it positional
    context = _blank_context(verify=verify)
    if verify:
        context.load_verify_locations(certifi.where())
    return context


def _blank_context(*, verify: bool) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.sslsocket_class = DeadlineTlsSocket
    if not verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def _trust_only(context: ssl.SSLContext, ca_pem: str) -> None:
    certificates("ca_pem", ca_pem)
    try:
        context.load_verify_locations(cadata=ca_pem)
    except (ssl.SSLError, ValueError) as error:
        raise _refused_by_openssl("ca_pem", error) from None
    # What the customer pasted is trusted as it stands, be it a root, an intermediate or the server itself.
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN


def _present(context: ssl.SSLContext, cert_pem: str, key_pem: str) -> None:
    certificate = certificates("client_cert_pem", cert_pem)[0]
    key = private_key("client_key_pem", key_pem)
    try:
        belongs = key.public_key() == certificate.public_key()
    except (ValueError, TypeError, UnsupportedAlgorithm):
        belongs = False
    if not belongs:
        reason = "does not belong to the first certificate in client_cert_pem"
        raise InvalidIntegration("client_key_pem", reason, KEY_HINT)
    try:
        with _unreadable_file(f"{cert_pem.strip()}\n{key_pem}") as path:
            context.load_cert_chain(path, password="")
    except (ssl.SSLError, ValueError) as error:
        raise _refused_by_openssl("client_cert_pem", error) from None


def _refused_by_openssl(field: str, error: Exception) -> InvalidIntegration:
    reason = getattr(error, "reason", None) or type(error).__name__
    hint = "give a certificate with a key of today's size"
    return InvalidIntegration(field, f"is refused by OpenSSL ({reason})", hint)


@contextlib.contextmanager
def _unreadable_file(text: str) -> Iterator[str]:
    """Lend the text a path (OpenSSL reads keys only from files) that no other user can read; remove it."""
    if not hasattr(os, "memfd_create"):
        with tempfile.NamedTemporaryFile("w") as file:  # its mode is 0600
            file.write(text)
            file.flush()
            yield file.name
        return
    with open(os.memfd_create("client-key"), "w") as file:  # noqa: PTH123 - a descriptor, not a path
        file.write(text)
        file.flush()
        yield f"/proc/self/fd/{file.fileno()}"
