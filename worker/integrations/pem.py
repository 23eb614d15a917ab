"""Text in PEM (RFC 7468): the blocks that are wanted, without anything that stands around them.

Input is pasted text, or a file's bytes in any encoding; output is blocks in plain ASCII.
Comments, byte-order marks and blocks of other kinds, such as a private key in a file of CAs, are left out.
"""

import binascii
import codecs
import re
from collections.abc import Collection
from dataclasses import dataclass
from textwrap import wrap

CERTIFICATE_LABELS = frozenset({"CERTIFICATE", "X509 CERTIFICATE"})
KEY_LABELS = frozenset(
    {"PRIVATE KEY", "RSA PRIVATE KEY", "EC PRIVATE KEY", "DSA PRIVATE KEY", "ENCRYPTED PRIVATE KEY"}
)
_WIDTH = 64
#: The longest before the shorter ones that it begins with.
_BYTE_ORDER_MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_MARK = re.compile(r"-----(BEGIN|END) ([A-Z0-9 ]+)-----")


class DamagedPem(ValueError):
    """A block has no beginning, no end, or something in it that is no base64."""


@dataclass(frozen=True, slots=True)
class PemBlock:
    """One block: what it says that it is, and its text from BEGIN to END, in ASCII."""

    label: str
    text: str

    @property
    def is_encrypted(self) -> bool:
        """Whether a pass phrase protects it (RFC 7468, section 11; RFC 1421, section 4.6.1.1)."""
        return self.label == "ENCRYPTED PRIVATE KEY" or "\nProc-Type: 4,ENCRYPTED\n" in self.text


def pem_text(content: bytes) -> str:
    """Decode a file: UTF-16 or UTF-32 by its byte-order mark, else any superset of ASCII. Never fails."""
    for mark, encoding in _BYTE_ORDER_MARKS:
        if content.startswith(mark):
            return content.decode(encoding, errors="replace")
    return content.decode("latin-1")


def pem_labels(text: str) -> list[str]:
    """Name what the blocks say that they are, in their order, also those that never end."""
    return [label for kind, label in _MARK.findall(text) if kind == "BEGIN"]


def pem_blocks(text: str, labels: Collection[str]) -> list[PemBlock]:
    """Return the blocks with one of these labels, in their order. Raises DamagedPem."""
    marks = [mark for mark in _MARK.finditer(text) if mark[2] in labels]
    if [mark[1] for mark in marks] != ["BEGIN", "END"] * (len(marks) // 2):
        raise DamagedPem
    pairs = zip(marks[::2], marks[1::2], strict=True)
    return [_block(begin, end, text[begin.end() : end.start()]) for begin, end in pairs]


def only_blocks(text: str, labels: Collection[str]) -> str:
    """Return the blocks with one of these labels, and nothing else.

    Text without any, or with a damaged one, comes back as it is: refusing it takes more words than this.
    """
    try:
        blocks = pem_blocks(text, labels)
    except DamagedPem:
        return text
    return "\n".join(block.text for block in blocks) or text


def _block(begin: re.Match[str], end: re.Match[str], inside: str) -> PemBlock:
    label = begin[2]
    if end[2] != label:
        raise DamagedPem
    headers, body = _parted(inside)
    if label in CERTIFICATE_LABELS:
        label = "CERTIFICATE"
    head = "".join(f"{line}\n" for line in headers) + ("\n" if headers else "")
    lines = "\n".join(wrap(body, _WIDTH))
    return PemBlock(label, f"-----BEGIN {label}-----\n{head}{lines}\n-----END {label}-----")


def _parted(inside: str) -> tuple[list[str], str]:
    """Return the lines of a header as old keys have it (RFC 1421), and the base64 without white space."""
    lines = [line.strip() for line in inside.strip().splitlines()]
    headers: list[str] = []
    if lines and ":" in lines[0]:
        blank = lines.index("") if "" in lines else len(lines)
        headers, lines = lines[:blank], lines[blank:]
    body = "".join("".join(lines).split())
    try:
        binascii.a2b_base64(body.encode("ascii"), strict_mode=True)
    except (UnicodeEncodeError, binascii.Error):
        raise DamagedPem from None
    if not body or not all(line.isascii() for line in headers):
        raise DamagedPem
    return headers, body
