"""Attacks of a hostile or broken source on a pull: refused, reported, and the last good version stays."""

from __future__ import annotations

import hashlib
import json
import resource
import subprocess
import sys
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from securesystemslib.signer import CryptoSigner, Signer
from tuf.api.metadata import Metadata, Root, Targets

from hashscan.errors import HashscanError, ListTrustError, UnreachableError
from hashscan.lists.publishing import metadata
from hashscan.lists.publishing.keys import load_key, read_key
from hashscan.lists.publishing.publisher_state import Expiry
from hashscan.lists.pulling import client
from hashscan.lists.pulling.origin import Origin, read_attempts
from hashscan.lists.store import ListStore
from hashscan.model import TrustState
from hashscan.secret_files import CredentialSources
from tests.certificates import Authority
from tests.lists.builders import CANARIES, NOW, Owner, some_entries
from tests.lists.pulling.test_client import info
from tests.web import WebServer, refuse, send, serving

CHECKOUT = Path(__file__).parents[3]
SIGNED_LONG = Expiry(root=3650, targets=3650, snapshot=3650, timestamp=3650)


@pytest.fixture
def subscribed(owner: Owner, store: ListStore, web: WebServer) -> ListStore:
    """Version 1, nine entries, pulled from the web server as `mine`."""
    owner.release(some_entries(9))
    client.add(store, "mine", web.url, owner.root)
    client.pull(store, "mine")
    web.asked.clear()
    return store


def refused(
    store: ListStore, error: type[HashscanError], message: str, remedy: str = "last good version"
) -> None:
    """A pull fails with this error and this advice, is recorded, and the last good version stays."""
    folder = store.folder("mine")
    before = folder.active()
    with pytest.raises(error, match=message) as caught:
        client.pull(store, "mine")
    assert remedy in caught.value.remedy
    assert str(caught.value).isprintable()
    found = info(store)
    assert (found.state, found.version, found.entries) == (TrustState.FRESH, 1, 9 + CANARIES)
    assert folder.active() == before
    attempts = read_attempts(folder.attempts)
    assert attempts.error == str(caught.value)
    assert attempts.succeeded


def republish(
    owner: Owner,
    number: int,
    *,
    expiry: Expiry = SIGNED_LONG,
    now: datetime = NOW,
    signers: Mapping[str, Signer] | None = None,
) -> None:
    """Sign all that is published anew, as version `number` of each role."""
    latest = max(owner.metadata.glob("*.targets.json"), key=lambda path: path.stat().st_mtime_ns)
    targets = Metadata[Targets].from_bytes(latest.read_bytes()).signed.targets
    keys: dict[str, Signer] = {
        role: load_key(owner.folder / "keys", role, None) for role in metadata.SIGNING_ROLES
    }
    using = {role: [signer] for role, signer in {**keys, **(signers or {})}.items()}
    before = dict.fromkeys(metadata.SIGNING_ROLES, number - 1)
    for name, data in metadata.signed_release("targets", targets, before, using, expiry, now).items():
        (owner.metadata / name).write_bytes(data)


def change_root(owner: Owner, change: Callable[[Root], Any]) -> None:
    """Publish root version 2, changed, and signed as it must be."""
    root = Metadata[Root].from_bytes(owner.root)
    root.signed.version = 2
    change(root.signed)
    root.sign(read_key(owner.folder / "keys" / "root" / "1.pem", None))
    (owner.metadata / "2.root.json").write_bytes(root.to_bytes())


def stranger() -> CryptoSigner:
    return CryptoSigner(Ed25519PrivateKey.generate())


# ---- keys and signatures


@pytest.mark.parametrize("role", metadata.SIGNING_ROLES)
def test_the_wrong_key(subscribed: ListStore, owner: Owner, role: str) -> None:
    republish(owner, 2, signers={role: stranger()})
    refused(subscribed, ListTrustError, f"{role} was signed by 0/1 keys")


@pytest.mark.parametrize("role", metadata.SIGNING_ROLES)
def test_too_few_signatures(subscribed: ListStore, owner: Owner, role: str) -> None:
    def demand_two(root: Root) -> None:
        root.add_key(stranger().public_key, role)
        root.roles[role].threshold = 2

    change_root(owner, demand_two)
    republish(owner, 2)
    refused(subscribed, ListTrustError, f"{role} was signed by 1/2 keys")


def test_a_root_that_another_signed(subscribed: ListStore, owner: Owner) -> None:
    root = Metadata[Root].from_bytes(owner.root)
    root.signed.version = 2
    root.sign(stranger())
    (owner.metadata / "2.root.json").write_bytes(root.to_bytes())
    refused(subscribed, ListTrustError, "root was signed by 0/1 keys")


def test_a_root_that_leaves_out_a_version(subscribed: ListStore, owner: Owner) -> None:
    change_root(owner, lambda root: setattr(root, "version", 3))
    refused(subscribed, ListTrustError, "Expected root version 2 instead got version 3")


# ---- time


@pytest.mark.parametrize("role", ["targets", "snapshot", "timestamp"])
def test_each_role_expired(subscribed: ListStore, owner: Owner, role: str) -> None:
    expiry = Expiry(**{**dict.fromkeys(("root", "targets", "snapshot", "timestamp"), 100), role: 5})
    republish(owner, 2, expiry=expiry, now=NOW - timedelta(days=10))
    message = (
        "New targets is expired|targets.json is expired" if role == "targets" else f"{role}.json is expired"
    )
    refused(
        subscribed, ListTrustError, f"has expired by this machine's clock.*({message})", "machine's clock"
    )


def test_an_expired_root(subscribed: ListStore, owner: Owner) -> None:
    change_root(owner, lambda root: setattr(root, "expires", NOW - timedelta(days=1)))
    refused(subscribed, ListTrustError, "has expired.*root.json is expired", "machine's clock")


def test_a_clock_a_year_ahead(subscribed: ListStore, owner: Owner) -> None:
    """Then all that is offered has expired long ago."""
    republish(owner, 2, expiry=Expiry(), now=NOW - timedelta(days=366))
    refused(
        subscribed, ListTrustError, "has expired by this machine's clock, 20", "Check this machine's clock"
    )


def test_a_clock_a_year_back(subscribed: ListStore, owner: Owner) -> None:
    """Then what is offered was made in the future, and nobody can tell what has expired."""
    owner.release(some_entries(3, start=9), now=NOW + timedelta(days=365))
    refused(
        subscribed, ListTrustError, "version 2 was made at 20.*has yet to come", "Check this machine's clock"
    )


def test_with_a_clock_a_year_back_nothing_is_fresh(subscribed: ListStore) -> None:
    """The version in use was made in the future then, so that its expiry is unknown."""
    for days, state in ((365, TrustState.STALE), (2, TrustState.STALE), (0, TrustState.FRESH)):
        with subscribed.open(["mine"], NOW - timedelta(days=days)) as opened:
            assert opened.infos[0].state is state
            assert len(opened.handles) == 1
            assert ("check the clock" in (opened.infos[0].problem or "")) is (state is TrustState.STALE)


def test_clocks_a_little_apart_dont_matter(subscribed: ListStore, owner: Owner) -> None:
    owner.release(some_entries(3, start=9), now=NOW + timedelta(hours=23))
    assert client.pull(subscribed, "mine").info.version == 2


def test_a_frozen_source(owner: Owner, store: ListStore, web: WebServer) -> None:
    """One that says for ever that there is nothing newer is noticed when the signature runs out."""
    owner.release(some_entries(9))
    republish(owner, 2, expiry=Expiry(timestamp=10))
    client.add(store, "mine", web.url, owner.root)
    client.pull(store, "mine")
    assert not client.pull(store, "mine").changed
    republish(owner, 2, expiry=Expiry(timestamp=10), now=NOW - timedelta(days=20))
    frozen = (owner.metadata / "timestamp.json").read_bytes()
    folder = store.folder("mine")
    # What it would be like ten days on: the same signature, run out.
    (folder.tuf / "timestamp.json").write_bytes(frozen)
    known = json.loads(folder.validators.read_text())
    known["timestamps"][f"{web.url}metadata/timestamp.json"]["sha256"] = hashlib.sha256(frozen).hexdigest()
    folder.validators.write_text(json.dumps(known))
    web.answers["timestamp.json"] = lambda request: refuse(request, 304)
    with pytest.raises(ListTrustError, match=r"timestamp.json is expired"):
        client.pull(store, "mine")
    asked = len(web.asked) - 1 - web.asked[::-1].index("/metadata/timestamp.json")
    assert web.headers[asked]["If-None-Match"]


def test_a_server_certificate_that_has_run_out(owner: Owner, store: ListStore, tmp_path: Path) -> None:
    owner.release(some_entries(9))
    authority = Authority(tmp_path / "ca")
    with serving(owner.repository, authority.server(after=timedelta(days=-1))) as server:
        client.add(store, "mine", Origin(server.url, ca_file=str(authority.file)), owner.root)
        with pytest.raises(UnreachableError, match="certificate has expired") as caught:
            client.pull(store, "mine")
    assert "Check this machine's clock" in caught.value.remedy


def test_a_server_certified_by_nobody_we_know(owner: Owner, store: ListStore, tmp_path: Path) -> None:
    with serving(owner.repository, Authority(tmp_path / "ca").server()) as server:
        client.add(store, "mine", server.url, owner.root)
        with pytest.raises(UnreachableError, match="certificate verify failed") as caught:
            client.pull(store, "mine")
    assert "--ca-file" in caught.value.remedy


# ---- conditional requests


def test_nothing_new_costs_no_content(subscribed: ListStore, web: WebServer) -> None:
    before = web.sent
    assert not client.pull(subscribed, "mine").changed
    assert web.sent == before
    assert web.headers[-1]["If-None-Match"]


def test_a_source_that_says_so_unasked(subscribed: ListStore, owner: Owner, web: WebServer) -> None:
    subscribed.folder("mine").validators.unlink()
    web.answers["timestamp.json"] = lambda request: refuse(request, 304)
    refused(subscribed, UnreachableError, "304")


def test_a_new_version_under_an_old_etag_is_only_late(
    subscribed: ListStore, owner: Owner, web: WebServer
) -> None:
    owner.release(some_entries(3, start=9))
    web.answers["timestamp.json"] = lambda request: refuse(request, 304)
    assert not client.pull(subscribed, "mine").changed
    web.answers.clear()
    assert client.pull(subscribed, "mine").info.version == 2


# ---- several locations


def test_mirrors_are_tried_in_order(owner: Owner, store: ListStore, web: WebServer) -> None:
    owner.release(some_entries(9))
    client.add(store, "mine", Origin("http://127.0.0.1:9/", (web.url, "/no/such/folder")), owner.root)
    pulled = client.pull(store, "mine")
    assert pulled.changed
    (problem,) = pulled.problems
    assert problem.startswith("http://127.0.0.1:9/ gives no usable answer")
    assert read_attempts(store.folder("mine").attempts).problems == (problem,)


def test_a_forgery_is_named_though_a_mirror_helps(
    owner: Owner, store: ListStore, web: WebServer, tmp_path: Path
) -> None:
    owner.release(some_entries(9))
    with serving(owner.copy("mirror")) as mirror:
        path = owner.target("manifest.json")
        path.write_bytes(path.read_bytes().replace(b"A1", b"A2"))
        client.add(store, "mine", Origin(web.url, (mirror.url,)), owner.root)
        pulled = client.pull(store, "mine")
    assert pulled.info.version == 1
    (problem,) = pulled.problems
    assert problem.startswith(f"what {web.url} offers can't be trusted")


def test_a_mirror_goes_on_where_the_source_broke_off(owner: Owner, store: ListStore, web: WebServer) -> None:
    owner.release(some_entries(9))
    web.answers["sha256.0000.value.npy"] = lambda request: refuse(request, 500)
    with serving(owner.repository) as mirror:
        client.add(store, "mine", Origin(web.url, (mirror.url,)), owner.root)
        assert client.pull(store, "mine").problems
        assert web.requests("md5.0000.value.npy")
        assert not set(web.requests("md5.0000.value.npy")) & set(mirror.requests("md5.0000.value.npy"))
        assert mirror.requests("sha256.0000.value.npy")


def test_a_forgery_goes_before_servers_out_of_reach(
    subscribed: ListStore, owner: Owner, web: WebServer
) -> None:
    folder = subscribed.folder("mine")
    document = json.loads(folder.source.read_text())
    folder.source.write_text(json.dumps({**document, "mirrors": ["http://127.0.0.1:9/"]}))
    republish(owner, 2, signers={"timestamp": stranger()})
    refused(subscribed, ListTrustError, f"{web.url} offers can't be trusted.*; http://127.0.0.1:9/ gives no")
    web.answers["timestamp.json"] = lambda request: refuse(request, 503)
    refused(subscribed, UnreachableError, "503.*; http://127.0.0.1:9/ gives no usable answer.*refused")


# ---- credentials


def test_secrets_are_shown_nowhere(owner: Owner, store: ListStore, web: WebServer, tmp_path: Path) -> None:
    secret = tmp_path / "token"
    secret.touch(0o600)
    secret.write_text("tOpSeCrEt\n")
    owner.release(some_entries(9))
    web.authorization = "Bearer tOpSeCrEt"
    origin = Origin(web.url, credentials=CredentialSources(token_file=str(secret)))
    client.add(store, "mine", origin, owner.root)
    client.pull(store, "mine")
    reported = []
    # A server that sends it back in every way it can.
    for answer in (
        lambda request: refuse(request, 401),
        lambda request: redirect(request, "http://tOpSeCrEt.invalid/x"),
        lambda request: redirect(request, "https://127.0.0.1:9/tOpSeCrEt"),
        lambda request: send(request, b"tOpSeCrEt"),
        lambda request: send(request, b'{"signed": {"_type": "tOpSeCrEt"}, "signatures": []}'),
        lambda request: request.wfile.write(b"tOpSeCrEt tOpSeCrEt\r\n\r\n"),
    ):
        web.answers["timestamp.json"] = answer
        with pytest.raises(HashscanError) as caught:
            client.pull(store, "mine")
        reported.append(str(caught.value) + caught.value.remedy)
    assert "tOpSeCrEt" not in "".join(reported)
    assert "credentials" in reported[0]
    for path in store.folder("mine").path.parent.rglob("*"):
        if path.is_file():
            assert b"tOpSeCrEt" not in path.read_bytes()


def redirect(request: Any, location: str) -> None:
    request.send_response(302)
    request.send_header("Location", location)
    request.send_header("Content-Length", "0")
    request.end_headers()


# ---- our own trouble


def test_a_full_disk(subscribed: ListStore, owner: Owner) -> None:
    """The system refuses to let a file grow, as it does on a full disk."""
    owner.release(some_entries(3000, start=9, algorithms=["md5"]))
    code = (
        "import resource, sys\n"
        "from pathlib import Path\n"
        "from hashscan.errors import OutputError\n"
        "from hashscan.lists.pulling import client\n"
        "from hashscan.lists.store import ListStore\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]), resource.RLIM_INFINITY))\n"
        "try:\n"
        "    client.pull(ListStore(Path(sys.argv[1])), 'mine')\n"
        "except OutputError as error:\n"
        "    print(error, error.remedy, sep='; ')\n"
        "    sys.exit(error.exit_code)\n"
    )
    lists = subscribed.folder("mine").path.parent
    for size in (0, 1000, 10_000, 40_000):
        ran = subprocess.run(
            [sys.executable, "-c", code, str(lists), str(size)], cwd=CHECKOUT, capture_output=True, text=True
        )
        assert ran.returncode == 12, (size, ran.stderr)
        assert "File too large" in ran.stdout
        assert (info(subscribed).state, info(subscribed).version) == (TrustState.FRESH, 1)
    assert client.pull(subscribed, "mine").info.version == 2


def test_limits_of_roles_are_kept(subscribed: ListStore, owner: Owner, web: WebServer) -> None:
    """Metadata of any length: more than the limit is never read."""
    sent = []

    def endless(request: Any) -> None:
        request.send_response(200)
        request.end_headers()
        while True:
            request.wfile.write(bytes(4096))
            sent.append(4096)

    web.answers["timestamp.json"] = endless
    refused(subscribed, UnreachableError, "longer than the 16384 bytes")
    assert sum(sent) < 20_000_000
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss < 4_000_000
