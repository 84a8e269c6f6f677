"""Google's objects: from an emulator, and from a small server that knows generations and has faults."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any
from unittest import mock

import google_crc32c
import pytest
from google.oauth2.credentials import Credentials

from hashscan.errors import TargetError, UnreachableError
from hashscan.model import Access, Reason
from hashscan.sources.base import ListingOptions, StoredChecksum, UnlistedFolder
from hashscan.sources.objects import receiver
from hashscan.sources.objects.gs.source import GoogleSource
from tests.sources.objects.buckets import wake_obstore
from tests.sources.objects.google_emulator import EmulatedBucket, emulator_url
from tests.sources.objects.google_server import TOKEN, GoogleServer, google_server
from tests.sources.objects.reading import batches_of, read_all
from tests.sources.objects.scanning import UPLOADS, scan, uploads
from tests.sources.objects.unused import unused_port

URL = b"gs://bucket"
NOBODY = "127.0.0.1:1"


@contextmanager
def environment(**variables: str) -> Iterator[None]:
    kept = {n: v for n, v in os.environ.items() if not n.startswith(("GOOGLE_", "CLOUDSDK_", "STORAGE_"))}
    # Or a machine of Google's would be looked for.
    kept |= {"GCE_METADATA_HOST": NOBODY, "GCE_METADATA_IP": NOBODY, "CLOUDSDK_CONFIG": "/nonexistent"}
    with mock.patch.dict(os.environ, kept | variables, clear=True):
        yield


@pytest.fixture(params=["obstore", "itself"])
def server(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[GoogleServer]:
    """A server whose plain keys are read through obstore, or as an emulator's are."""
    wake_obstore()
    monkeypatch.setattr(receiver, "_FIRST_PAUSE", 0.005)
    with google_server() as started:
        if request.param == "obstore":
            started.access = Access(endpoint=started.url, anonymous=True)
            variables = {}
        else:
            variables = {"STORAGE_EMULATOR_HOST": started.url}
        with environment(**variables):
            yield started


def source(server: GoogleServer, url: bytes = URL, **options: Any) -> GoogleSource:
    return GoogleSource([url], ListingOptions(**options), server.access)


def fetch(server: GoogleServer, url: bytes = URL, **options: Any) -> dict[bytes, bytes | Reason]:
    return read_all(GoogleSource, batches_of(source(server, url, **options)), server.access)


def test_the_same_tree_in_the_emulator() -> None:
    bucket = EmulatedBucket()
    for path, content in uploads().items():
        bucket.put(path, content)
    bucket.close()
    here = scan(str(UPLOADS))
    there = scan(f"gs://{bucket.name}", environment={"STORAGE_EMULATOR_HOST": emulator_url()})
    expected = here.by_path(f"{UPLOADS}/")
    assert expected
    assert there.by_path(f"gs://{bucket.name}/") == expected
    assert there.code == here.code == 1
    for name in ("files", "verdicts", "bytes"):
        assert there.summary[name] == here.summary[name]


ODD = [
    *("a//b", "a/./b", "x/../y", "./z", "/lead.jpg", "tab\t", "\x01", "bad%zz", "%2F", "a%20b", "ü/é"),
    *("q?x=1&y", "h#x", "trail/", " lead", "<&>\"'", "<Code>SlowDown</Code>", "k" * 1024, "plain/f.jpg"),
]


@pytest.mark.parametrize("headers", [True, False])
def test_odd_keys(server: GoogleServer, headers: bool) -> None:
    server.headers = headers
    for key in ODD:
        server.put(key, key.encode())
    assert fetch(server) == {URL + b"/" + key.encode(): key.encode() for key in ODD}
    # Where generations are listed, plain keys go the fast way.
    fast = any(path.startswith("/bucket/") for path in server.asked)
    assert fast == bool(server.access.endpoint)
    assert any("ifGenerationMatch" in path for path in server.asked)


def test_pages_and_prefixes(server: GoogleServer) -> None:
    server.page = 4
    keys = [f"{folder}/{number}" for folder in "abc" for number in range(7)] + ["f", "g"]
    for key in keys:
        server.put(key, key.encode())
    assert fetch(server) == {URL + b"/" + key.encode(): key.encode() for key in keys}
    assert sorted(fetch(server, b"gs://bucket/a")) == [URL + f"/a/{number}".encode() for number in range(7)]


def test_checksums(server: GoogleServer) -> None:
    contents = {b"whole": b"of one piece", b"composed": b"of two" * 400_000}
    for key, content in contents.items():
        server.put(key.decode(), content)
    found = {}
    with closing(GoogleSource.opener(server.access)) as opener:
        for batch in batches_of(source(server)):
            with opener.reopen(batch) as folder:
                for item in batch.items:
                    with closing(folder.open(item)) as file:
                        found[item.name] = file.checksum
    md5 = hashlib.md5(contents[b"whole"]).digest()
    crc = google_crc32c.value(contents[b"composed"]).to_bytes(4)
    assert found == {
        b"whole": StoredChecksum("md5", md5),
        b"composed": StoredChecksum("crc32c", crc, crc),
    }


def test_generations(server: GoogleServer) -> None:
    for key in ("f", "a//f"):
        server.put(key, b"old")
        server.put(key, b"new")
    server.put("gone", b"gone")
    server.remove("gone")
    assert list(fetch(server).values()) == [b"new"] * 2
    assert sorted(fetch(server, all_versions=True).values(), key=str) == [
        b"gone",
        *[b"new"] * 2,
        *[b"old"] * 2,
    ]


@pytest.mark.parametrize("headers", [True, False])
@pytest.mark.parametrize("key", ["f", "a//f"])
def test_replaced_and_deleted_since(server: GoogleServer, key: str, headers: bool) -> None:
    server.headers = headers
    for name in (key, f"{key}2", f"{key}3"):
        server.put(name, b"content")
    batches = batches_of(source(server))
    server.put(key, b"CONTENT")
    server.remove(f"{key}2")
    assert list(read_all(GoogleSource, batches, server.access).values()) == [
        Reason.REPLACED,
        Reason.VANISHED,
        b"content",
    ]


@pytest.mark.parametrize("key", ["f", "a//f"])
@pytest.mark.parametrize(
    ("status", "reason"),
    [(401, Reason.PERMISSION), (403, Reason.PERMISSION), (503, Reason.IO_ERROR), (400, Reason.IO_ERROR)],
)
def test_refusals(server: GoogleServer, key: str, status: int, reason: Reason) -> None:
    server.put(key, b"content")
    server.put("z", b"good")
    server.refusals[key.encode()] = status
    assert sorted(fetch(server).values(), key=str) == sorted([reason, b"good"], key=str)


@pytest.mark.parametrize("key", ["f", "a//f"])
def test_a_cut_connection_is_taken_up_again(server: GoogleServer, key: str) -> None:
    content = os.urandom(3_000_000)
    server.put(key, content)
    server.cut[key.encode()] = 2
    assert list(fetch(server).values()) == [content]
    server.cut[key.encode()] = 1000
    server.put(key, b"xx")
    assert list(fetch(server).values()) == [Reason.IO_ERROR]


def test_what_is_stored_compressed_is_checked_as_it_is_shown(
    server: GoogleServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.put("f", b"packed", encoding="gzip")
    assert list(fetch(server).values()) == [b"decompressed packed"]
    monkeypatch.setattr(receiver, "UNSIZED_MAX", 10)
    assert list(fetch(server).values()) == [Reason.IO_ERROR]


def test_rights_that_end_while_listing_are_reported(server: GoogleServer) -> None:
    server.put("f", b"content")
    found = source(server)
    server.list_status = 403
    (closed,) = found.listings()
    assert isinstance(closed, UnlistedFolder)


def refusal(target: bytes = URL, access: Access = Access(), **variables: str) -> str:  # noqa: B008
    with environment(**variables), pytest.raises((TargetError, UnreachableError)) as caught:
        GoogleSource([target], ListingOptions(), access)
    return f"{type(caught.value).__name__}: {caught.value} {caught.value.remedy}"


def test_what_is_wrong_is_found_before_listing(server: GoogleServer) -> None:
    here = {"STORAGE_EMULATOR_HOST": server.url.removeprefix("http://")}
    assert "no bucket gs://missing" in refusal(b"gs://missing", **here)
    for status, said in [(403, "no right to list"), (401, "refused"), (503, "UnreachableError: ")]:
        server.list_status = status
        assert said in (message := refusal(**here))
        assert "SECRET" not in message
    server.list_status = 403
    assert "It is not public" in refusal(access=Access(endpoint=server.url, anonymous=True))
    assert "no credentials for gs://bucket" in refusal()
    dead = f"http://127.0.0.1:{unused_port()}"
    assert refusal(STORAGE_EMULATOR_HOST=dead).startswith(f"UnreachableError: {dead} can't be reached")
    for target in (b"gs://user:SECRET@bucket/x", b"gs:///x", b"gs://"):
        assert "SECRET" not in refusal(target, **here)


def test_credentials_are_sent_and_not_reported(server: GoogleServer) -> None:
    """Both libraries send this token; a test can't have one of Google's own."""
    server.token = TOKEN
    server.put("f", b"1")
    server.put("a//f", b"2")
    access = Access(endpoint=server.url)
    with mock.patch("google.auth.default", return_value=(Credentials(TOKEN), "p")):
        server.access = access
        assert sorted(fetch(server).values(), key=str) == [b"1", b"2"]
    anonymous = Access(endpoint=server.url, anonymous=True)
    assert TOKEN not in refusal(access=anonymous)


def test_secrets_of_a_file_are_nowhere_to_be_seen(server: GoogleServer, tmp_path: Any) -> None:
    """A service account's key that its owner has withdrawn: its server refuses it."""
    secret = "SECRETrefresh123"
    file = tmp_path / "user.json"
    file.write_text(
        f'{{"type": "authorized_user", "client_id": "c", "client_secret": "{secret}", '
        f'"refresh_token": "{secret}", "token_uri": "{server.url}/token"}}'
    )
    file_variables = {"GOOGLE_APPLICATION_CREDENTIALS": str(file)}
    options = ("--endpoint", server.url)
    scanned = scan("gs://bucket", options=options, environment=file_variables, watched=True)
    assert scanned.code in {2, 13}
    assert secret not in scanned.everything()
    file.write_text(f'{{"type": "authorized_user", "{secret}')
    scanned = scan("gs://bucket", options=options, environment=file_variables)
    assert scanned.code == 2
    assert secret not in scanned.everything()


def test_faults_lose_no_verdict(server: GoogleServer) -> None:
    for key in (*ODD, "forbidden", "broken"):
        server.put(key, b"content")
    server.refusals = {b"forbidden": 403, b"broken": 400}
    options = ("--anonymous", "--endpoint", server.url) if server.access.endpoint else ()
    scanned = scan("gs://bucket", options=options, environment={"STORAGE_EMULATOR_HOST": server.url})
    assert scanned.code == 3
    assert scanned.summary["files"] == len(ODD) + 2
    assert {path: record["reason"] for path, record in scanned.by_path("gs://bucket/").items()} == {
        "forbidden": Reason.PERMISSION.value,
        "broken": Reason.IO_ERROR.value,
    }
