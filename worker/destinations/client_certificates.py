"""Answers over HTTP by which a server says that it wants a client certificate, or another one. Pure.

TLS ends well there: nginx, for one, lets everybody shake hands, and answers with an error page instead
(ngx_http_ssl_module, "Error Processing": 495 and 496, which it sends as 400).
"""

from worker.model.deliveries import Failure
from worker.model.failures import FailureCode

_NGINX_BAD, _NGINX_NONE = 495, 496
_BAD_REQUEST = 400
_FORBIDDEN = frozenset({401, 403})
#: nginx's own words; other bodies of a 400 speak of the request, and may repeat it.
_NONE_ARRIVED, _NOT_ACCEPTED = b"No required SSL certificate was sent", b"The SSL certificate error"
_SPOKEN_OF = b"client certificate"

_GIVE = "give client_cert_pem and client_key_pem: a certificate that the server accepts"
_CHECK = "check client_cert_pem, its end and its intermediates, with those who run the server"


def certificate_refusal(status: int, body: bytes) -> Failure | None:
    """Return what the answer says of our client certificate, or None if it speaks of something else."""
    if status == _NGINX_NONE or (status == _BAD_REQUEST and _NONE_ARRIVED in body):
        return _finding(status, "it demands a client certificate", _GIVE)
    if status == _NGINX_BAD or (status == _BAD_REQUEST and _NOT_ACCEPTED in body):
        return _finding(status, "it does not accept our client certificate", _CHECK)
    if status in _FORBIDDEN and _SPOKEN_OF in body.lower():
        return _finding(status, "it speaks of a client certificate", f"{_GIVE}; or {_CHECK}")
    return None


def _finding(status: int, words: str, hint: str) -> Failure:
    return Failure(FailureCode.CLIENT_CERTIFICATE_REFUSED, f"HTTP {status}: {words}", hint, status)
