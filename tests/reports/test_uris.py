from __future__ import annotations

import re
from urllib.parse import unquote_to_bytes, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hashscan.reports.uris import uri_of
from tests.reports.documents import HOSTILE

# RFC 3986, a URI or a relative reference without query and fragment, or with a query.
PCHAR = r"(?:[A-Za-z0-9\-._~!$&'()*+,;=:@]|%[0-9A-F]{2})"
VALID = re.compile(rf"(?:[a-z][a-z0-9]*:)?(?:{PCHAR}|/)*(?:\?(?:{PCHAR}|[/?])*)?")


@given(st.binary().map(lambda name: b"/" + name) | st.sampled_from(HOSTILE))
def test_a_path_comes_back_byte_for_byte(path: bytes) -> None:
    uri = uri_of(path)
    assert VALID.fullmatch(uri)
    if path.startswith(b"/"):
        assert uri.startswith("file:///")
        uri = uri.removeprefix("file://")
    assert unquote_to_bytes(uri) == path


@given(st.sampled_from((b"s3", b"gs", b"az")), st.binary())
def test_a_key_comes_back_byte_for_byte(scheme: bytes, key: bytes) -> None:
    uri = uri_of(scheme + b"://uploads/" + key)
    assert VALID.fullmatch(uri)
    split = urlsplit(uri)
    assert (split.scheme, split.netloc, split.query, split.fragment) == (scheme.decode(), "uploads", "", "")
    assert unquote_to_bytes(split.path) == b"/" + key


@pytest.mark.parametrize(
    ("address", "uri"),
    [
        (b"https://host.example/a%20b.jpg?x=1", "https://host.example/a%20b.jpg?x=1"),
        (b"https://[2001:db8::1]:8443/a.jpg", "https://[2001:db8::1]:8443/a.jpg"),
        (b"https://host.example/100%.jpg", "https://host.example/100%25.jpg"),
        ("https://host.example/a.jpg?…1f2e".encode(), "https://host.example/a.jpg?%E2%80%A61f2e"),
        (b"https://host.example/<b>\x1b", "https://host.example/%3Cb%3E%1B"),
    ],
)
def test_a_web_address_is_escaped_already(address: bytes, uri: str) -> None:
    assert uri_of(address) == uri


@given(st.binary())
def test_whatever_a_path_is_the_uri_is_ascii(path: bytes) -> None:
    assert uri_of(path).isascii()
    assert uri_of(path).isprintable()
