"""PEM as people have it: in bundles with comments, in any encoding, with other blocks in between."""

import base64
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.integrations.pem import (
    CERTIFICATE_LABELS,
    KEY_LABELS,
    DamagedPem,
    only_blocks,
    pem_blocks,
    pem_text,
)

#: Whatever may stand around a block, but for the marks of another one.
anything = st.text().filter(lambda text: "-----" not in text and not text.endswith("-"))
LINES = ("\n", "\r\n", "\r")
contents = st.lists(st.binary(min_size=1, max_size=200), min_size=1, max_size=4)


def block(content: bytes, label: str = "CERTIFICATE") -> str:
    """Write a block as most tools do (RFC 7468, section 2)."""
    encoded = base64.b64encode(content).decode()
    lines = "\n".join(encoded[at : at + 64] for at in range(0, len(encoded), 64))
    return f"-----BEGIN {label}-----\n{lines}\n-----END {label}-----"


@given(contents=contents, between=st.lists(anything, min_size=5, max_size=5), line_end=st.sampled_from(LINES))
def test_only_the_blocks_count(contents: list[bytes], between: list[str], line_end: str) -> None:
    """Text around them, in any script, changes nothing, and neither do line ends."""
    blocks = [block(content) for content in contents]
    pasted = "".join(f"{junk}\n{one}\n" for junk, one in zip(between, blocks, strict=False)) + between[-1]

    assert only_blocks(pasted.replace("\n", line_end), CERTIFICATE_LABELS) == "\n".join(blocks)


@given(text=st.text() | st.from_regex(r"(-----(BEGIN|END) (CERTIFICATE|PRIVATE KEY)-----|[\nA=+é])*"))
def test_nothing_ends_in_a_traceback(text: str) -> None:
    """Any pasted text is a list of blocks, or damaged; what is kept of it reads the same again."""
    for labels in (CERTIFICATE_LABELS, KEY_LABELS):
        kept = only_blocks(text, labels)
        try:
            blocks = pem_blocks(text, labels)
        except DamagedPem:
            assert kept == text
        else:
            assert pem_blocks(kept, labels) == blocks
            assert not blocks or kept.isascii()


@pytest.mark.parametrize(
    "encoding", ["ascii", "utf-8", "utf-8-sig", "utf-16", "utf-32", "latin-1", "cp1251", "shift_jis"]
)
def test_files_of_any_encoding_are_read(encoding: str) -> None:
    """With or without a byte-order mark, as editors of all systems write them."""
    comment = {"latin-1": "Größe", "cp1251": "Корень", "shift_jis": "証明書", "ascii": "root"}.get(
        encoding, "€ 証"
    )
    one = block(b"certificate")
    content = f"# {comment}\r\n{one}\r\n".encode(encoding)

    assert only_blocks(pem_text(content), CERTIFICATE_LABELS) == one


def test_blocks_of_other_kinds_are_left_out() -> None:
    """A file may hold all that a server needs: a field for certificates keeps no key of it."""
    whole = "\n".join(
        (
            block(b"parameters", "EC PARAMETERS"),
            block(b"own"),
            block(b"secret", "EC PRIVATE KEY"),
            block(b"ca"),
        )
    )

    assert only_blocks(whole, CERTIFICATE_LABELS) == f"{block(b'own')}\n{block(b'ca')}"
    assert only_blocks(whole, KEY_LABELS) == block(b"secret", "EC PRIVATE KEY")


@pytest.mark.parametrize(
    ("label", "header", "is_encrypted"),
    [
        ("PRIVATE KEY", "", False),
        ("ENCRYPTED PRIVATE KEY", "", True),
        ("RSA PRIVATE KEY", "Proc-Type: 4,ENCRYPTED\r\nDEK-Info: AES-256-CBC,00FF\r\n\r\n", True),
    ],
)
def test_a_key_says_whether_it_is_encrypted(label: str, header: str, is_encrypted: bool) -> None:  # noqa: FBT001 - pytest passes it by name
    """By its label, or by the header that OpenSSL's old form has."""
    text = block(b"key", label).replace("-----\n", f"-----\r\n{header}", 1)
    [one] = pem_blocks(text, KEY_LABELS)

    assert one.is_encrypted is is_encrypted
    assert pem_blocks(one.text, KEY_LABELS) == [one]


@pytest.mark.parametrize(
    "text",
    [
        block(b"x")[:40],
        block(b"x")[12:],
        block(b"x") + block(b"y")[:40],
        block(b"x")[:40] + "\n" + block(b"y"),
        block(b"x").replace("END CERTIFICATE", "END X509 CERTIFICATE"),
        "-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----",
        re.sub(r"\n(.)", "\n\u00a7\\1", block(b"x"), count=1),
    ],
)
def test_a_damaged_block_is_refused_whole(text: str) -> None:
    """Nothing is picked out of it: what was cut off may be what is needed."""
    with pytest.raises(DamagedPem):
        pem_blocks(text, CERTIFICATE_LABELS)
    assert only_blocks(text, CERTIFICATE_LABELS) == text
