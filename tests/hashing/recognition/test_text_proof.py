"""A text is proven to be none only if nothing in it announces a picture; C and Python prove the same."""

from __future__ import annotations

import base64
import gzip
import hashlib
import io

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hashscan.hashing.documents.text_probe import texts_with_pictures
from hashscan.hashing.pread import PreadFile
from hashscan.hashing.recognition import text_proof
from hashscan.hashing.recognition.none_kinds import none_kind
from hashscan.hashing.recognition.text_proof import (
    BEGINS,
    ESCAPED,
    NOT_TEXT,
    PLAIN,
    RUN_LEAST,
    TRACE,
    TextProof,
    is_begin_of_file,
    plain_in_python,
    runs_in_python,
)
from tests.examples import examples
from tests.hashing.documents.drawn import JPEG, SCENE, zipped

MEMBERS = "See http://example.org/a: café, 写真.\n"
PIECES = st.lists(
    st.sampled_from(
        [
            *(
                b"data:",
                b"DA\nTA:",
                b"d\\ata:",
                b" image/png",
                b";base64",
                b",",
                b'"',
                b"=",
                b"url(",
                b"\n",
                b"\r",
            ),
            *(
                b"Content-Type:",
                b"content-transfer-encoding :",
                b" text/",
                b" image/",
                b"7bit",
                b"base64",
                b" ",
            ),
            *(
                b"begin 644 a",
                b"BEGIN:VCARD",
                b"=ybegin a",
                b"#define a_width 3",
                b"<!ENTITY",
                b"%PDF",
                b"{\\rt",
            ),
            *(b"\xc3\xa9", b"\xe5\x86\x99", b"\xc3", b"\xa9", b"\x1b", b"\0", b"\x7f", b"abc/def+", b"-_\\/"),
            *(b"iVBORw0KGgo", b"\\/9j\\/4AAQ", b"R0lGODlh", b"AAAAGGZ0eXBpc29t", b"%89PNG%0D%0A%1A%0A"),
            *(b"&colon;", b"&#97;", b"&amp;", b"\\64 ", b"\\x64", b"\\n", b"x" * 41, b"/* XPM", b"(This"),
        ]
    ),
    max_size=12,
)


@settings(max_examples=examples(400))
@given(PIECES)
def test_c_and_python_prove_the_same(pieces: list[bytes]) -> None:
    text = b"".join(pieces)
    found, expected = text_proof.plain_text(text), plain_in_python(text)
    if NOT_TEXT in {found, expected}:
        # Which is found first differs.
        assert PLAIN not in {found, expected}
        assert ESCAPED not in {found, expected}
    else:
        # In Python, more escapes are looked into, or taken for a trace.
        assert found == expected or (found, expected) in {(PLAIN, ESCAPED), (ESCAPED, TRACE)}
    runs = runs_in_python(text, RUN_LEAST)
    assert set(text_proof.base64_runs(text, RUN_LEAST)) == set(runs)
    begins = {at for at in runs if is_begin_of_file(text, at)}
    assert begins <= set(text_proof.base64_runs(text, RUN_LEAST, BEGINS)) <= set(runs)
    # What is proven has no URL or Base64 of a picture for the probe, either.
    assert not (TextProof().feed(text) and list(texts_with_pictures(PreadFile(text))))


PLAIN_TEXTS = {
    "prose": MEMBERS.encode() * 9,
    "C": b"#define WIDTH 3\nint main(void) { return data: 0; } /* a\\b */\n",
    "a page": b"<!DOCTYPE html><p>&#8217; <img src='a.png'><script>x = {data:e,options:t}</script>",
    "YAML": b"data:\n  a: b/c, d\n",
    "a lock file": b'"integrity": "sha512-' + base64.b64encode(bytes(range(64))) + b'"\n',
    "a certificate": b"-----BEGIN CERTIFICATE-----\nMII" + base64.encodebytes(bytes(range(200))),
    "metadata": b"Metadata-Version: 2.1\nName: a\nDescription-Content-Type: text/markdown\n\n# A\n",
    "a mail": b"Subject: a\nContent-Type: text/plain\nContent-Transfer-Encoding: 8bit\n\nHello.\n",
    "paths": b"/usr/lib/python3/dist-packages/hashscan/hashing/recognition/text_proof\n" * 3,
}


@pytest.mark.parametrize("name", PLAIN_TEXTS)
def test_a_text_without_a_picture_is_proven(name: str) -> None:
    assert none_kind(PreadFile(PLAIN_TEXTS[name])) == "text"


def test_digests_and_tokens_that_begin_like_files_are_proven() -> None:
    # By chance, one of some hundred digests begins like a file with a signature of two bytes.
    digests = b"".join(b"%d GET /a?id=%b HTTP/1.1\n" % (at, sha512(b"%d" % at)) for at in range(3000))
    tokens = b"".join(
        b'"%b", 200 at %d\n' % (base64.b64encode(begin + bytes(94)), 1) for begin in SHORT_BEGINS
    )
    for text in (digests, tokens):
        assert any(is_begin_of_file(text, at) for at in text_proof.base64_runs(text, RUN_LEAST, BEGINS))
        assert none_kind(PreadFile(text)) == "text"


SHORT_BEGINS = (b"BM", b"P4 9 9 ", b"\xff\x0a", b"\x01\xda", b"\x1f\x9d\x90", b"\x60\xea", b"\xc7\x71")


def sha512(content: bytes) -> bytes:
    return hashlib.sha512(content).hexdigest().encode()


@pytest.mark.parametrize("name", ["BMP", "PPM", "SGI"])
@pytest.mark.parametrize(
    "between",
    [b"", b"\n", b"\r\n  ", b'",\n"', b'" + "', b"\n" * 99, b"\\n", b"=\n", b"%2B", b"&#43;", b"\\u002b"],
)
def test_pictures_with_short_signatures_do_not_hide_as_digests(name: str, between: bytes) -> None:
    digits = base64.b64encode(as_format(name))
    lines = [digits[at : at + 76] for at in range(0, len(digits), 76)]
    assert none_kind(PreadFile(PROSE + b'x = "' + between.join(lines) + b'";\n' + PROSE * 99)) == ""


def as_format(name: str, **options: object) -> bytes:
    file = io.BytesIO()
    SCENE.convert("1" if name == "XBM" else "RGB").save(file, name, **options)
    return file.getvalue()


PROSE = MEMBERS.encode()
HIDDEN = {
    "an archive in Base64": base64.encodebytes(zipped({"a.jpg": JPEG})),
    "an archive in the alphabet of URLs": base64.urlsafe_b64encode(gzip.compress(JPEG)),
    "a picture in one line": b'x = "' + base64.b64encode(JPEG) + b'"',
    "a video in Base64": base64.b64encode(bytes([0, 0, 0, 24]) + b"ftypisom" + bytes(40)),
    "a video as it is": bytes([0, 0, 0, 24]) + b"ftypisom",
    "a drawing in C": as_format("XBM"),
    "a page behind 70,000 letters": PROSE * 2000 + b"<img src=data:image/png;base64,iVBOR>",
    "a page in Latin-1": b"\xe9 <p>",
    "a page with shifts": b"<img src='da\x1b(Bta:image/png,x'>",
    "an URL over the end of a piece": b"x" * (256 * 1024 - 7) + b" url(data:image/png,%89PNG)",
    "Base64 over the end of a piece": b" " * (256 * 1024 - 30) + base64.b64encode(JPEG),
    "a character cut off by another": b"\xe5\x86" + PROSE,
    "a document behind text": PROSE + b"%PDF-1.4\n",
    "a page in a page": b"<iframe srcdoc='<img src=&amp;#100;ata:foo,%89PNG>'>",
    "a page in a page in a page": b"<iframe srcdoc='<img src=&#38;amp;#x64;ata:foo,%89PNG>'>",
    "an escape by reference": b"<p style='background:url(&bsol;64 ata:foo,%89PNG)'>",
    "a reference without its end": b"<img src='&#100ata:foo,%89PNG'>",
    "an entity": b"<!DOCTYPE a [<!ENTITY b 'da'>]><a b='&b;ta:image/png,x'/>",
}


@pytest.mark.parametrize("name", HIDDEN)
@pytest.mark.parametrize("before", [b"", PROSE])
def test_nothing_hides_in_a_text(name: str, before: bytes) -> None:
    assert none_kind(PreadFile(before + HIDDEN[name])) == ""


def test_a_proof_needs_all_pieces() -> None:
    proof = TextProof()
    assert all(proof.feed(PROSE) for _ in range(9))
    assert not proof.feed(b"\0")
    assert not proof.feed(PROSE)
