from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hashscan.errors import ListTrustError, UnreachableError, UsageError
from hashscan.lists.pulling.client import checked_fingerprint, fetch_first_root
from hashscan.lists.pulling.origin import Origin
from tests.lists.builders import Owner
from tests.web import WebServer, refuse, send, serving

NOBODY = "http://127.0.0.1:9/"


def fingerprint(owner: Owner) -> str:
    return hashlib.sha256(owner.root).hexdigest()


def test_the_root_that_is_expected(owner: Owner, web: WebServer) -> None:
    wanted = fingerprint(owner)
    assert fetch_first_root(Origin(web.url), wanted) == owner.root
    assert web.asked == ["/metadata/1.root.json"]
    assert fetch_first_root(Origin(str(owner.repository)), wanted) == owner.root
    colons = ":".join(wanted[i : i + 2] for i in range(0, 64, 2)).upper()
    assert fetch_first_root(Origin(NOBODY, (web.url,)), f"SHA256:{colons}") == owner.root


def test_another_root_is_refused(owner: Owner, web: WebServer, tmp_path: Path) -> None:
    other = Owner.begin(tmp_path / "other")
    with pytest.raises(ListTrustError, match=fingerprint(owner)) as caught:
        fetch_first_root(Origin(web.url), fingerprint(other))
    assert web.url in str(caught.value)
    assert "not with the server" in caught.value.remedy
    with serving(other.repository) as mirror:
        assert fetch_first_root(Origin(web.url, (mirror.url,)), fingerprint(other)) == other.root


def test_no_root_at_all(owner: Owner, web: WebServer) -> None:
    with pytest.raises(UnreachableError, match="refused"):
        fetch_first_root(Origin(NOBODY), fingerprint(owner))
    web.answers["1.root.json"] = lambda request: refuse(request, 403)
    with pytest.raises(UnreachableError, match="403") as caught:
        fetch_first_root(Origin(NOBODY, (web.url,)), fingerprint(owner))
    assert NOBODY in str(caught.value)
    web.answers["1.root.json"] = lambda request: send(request, bytes(600_000))
    with pytest.raises(UnreachableError, match="longer than"):
        fetch_first_root(Origin(web.url), fingerprint(owner))


@pytest.mark.parametrize("text", ["", "abc", "0" * 63, "0" * 65, "g" * 64, "md5:" + "0" * 64])
def test_what_is_no_fingerprint(text: str) -> None:
    with pytest.raises(UsageError, match="no sha256"):
        checked_fingerprint(text)


@given(st.text(max_size=80))
def test_any_text_is_a_fingerprint_or_one_kind_of_error(text: str) -> None:
    try:
        found = checked_fingerprint(text)
    except UsageError:
        return
    assert len(bytes.fromhex(found)) == 32
