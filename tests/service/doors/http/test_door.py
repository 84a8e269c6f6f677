"""Addresses of the HTTP door, TLS, and owners of uploads."""

from __future__ import annotations

import http.client
import socket
import ssl
from dataclasses import replace
from ipaddress import ip_network
from pathlib import Path

import pytest

from hashscan.errors import UsageError
from hashscan.service.doors.http.app import HttpDoor
from hashscan.service.engine.uploads import Answer, Client, Turn, Upload
from hashscan.settings.service import TcpAddress, UnixAddress
from tests.certificates import Authority
from tests.service.doors.http.conftest import LISTED
from tests.service.doors.http.serving import DOOR, HttpServer, Site, add_key, read_to_end

ANYWHERE = replace(DOOR, address=TcpAddress("0.0.0.0", 0), allow=(ip_network("192.0.2.0/24"),))


def test_nothing_is_open_to_other_machines_without_a_key_and_tls(server: HttpServer, tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    add_key(keys, "scan")
    certificate = Authority(tmp_path / "ca").issue("localhost")
    for options in ({}, {"keys": keys}, {"tls": certificate}):
        with pytest.raises(UsageError), server.door(ANYWHERE, **options):
            pass
    with pytest.raises(UsageError), server.door(replace(ANYWHERE, allow=()), keys=keys, tls=certificate):
        pass
    with server.door(ANYWHERE, keys=keys, tls=certificate) as site:
        assert site.door.connections == 0


@pytest.mark.parametrize("damage", ["missing key", "other key", "exposed key", "no certificate", "no keys"])
def test_files_that_cannot_be_used_are_errors(server: HttpServer, tmp_path: Path, damage: str) -> None:
    authority = Authority(tmp_path / "ca")
    certificate, key = authority.issue("localhost")
    keys = tmp_path / "keys"
    add_key(keys, "scan")
    match damage:
        case "missing key":
            key.unlink()
        case "other key":
            key = authority.issue("other")[1]
        case "exposed key":
            key.chmod(0o644)
        case "no certificate":
            certificate.write_text("no certificate")
        case "no keys":
            keys.unlink()
    with pytest.raises(UsageError), server.door(DOOR, keys=keys, tls=(certificate, key)):
        pass


def test_a_new_certificate_is_used_at_once(server: HttpServer, tmp_path: Path) -> None:
    authority = Authority(tmp_path / "ca")
    certificate, key = authority.issue("localhost")
    context = ssl.create_default_context(cafile=str(authority.file))
    context.check_hostname = False

    def serial(site: Site) -> str:
        connection = http.client.HTTPSConnection("127.0.0.1", site.port, context=context, timeout=60)
        connection.request("POST", "/v1/scan", LISTED)
        assert connection.sock is not None
        found = connection.sock.getpeercert()["serialNumber"]  # type: ignore[attr-defined]
        assert b'"refuse"' in connection.getresponse().read()
        connection.close()
        return str(found)

    with server.door(DOOR, tls=(certificate, key)) as site:
        first = serial(site)
        assert serial(site) == first
        for old, new in zip((certificate, key), authority.issue("again"), strict=True):
            old.write_bytes(new.read_bytes())
        second = serial(site)
        assert second != first
        key.write_text("damaged")
        assert serial(site) == second
        for old, new in zip((certificate, key), authority.issue("third"), strict=True):
            old.write_bytes(new.read_bytes())
        key.chmod(0o644)
        assert serial(site) == second
        key.chmod(0o600)
        assert serial(site) not in (first, second)
        # No TLS, no answer.
        assert not site.send(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n").startswith(b"HTTP")
        old_tls = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        old_tls.check_hostname, old_tls.verify_mode = False, ssl.CERT_NONE
        with pytest.warns(DeprecationWarning, match="TLSv1_1"):
            old_tls.minimum_version = old_tls.maximum_version = ssl.TLSVersion.TLSv1_1
        with site.connect() as plain, pytest.raises((ssl.SSLError, ConnectionError)):
            old_tls.wrap_socket(plain)


def test_a_unix_socket_names_the_client_s_user(server: HttpServer, tmp_path: Path) -> None:
    path = tmp_path / "http.sock"
    seen: list[Client] = []
    with pytest.MonkeyPatch.context() as patch:
        check = server.engine.check

        async def spied(content: object, upload: Upload, *others: object, **more: object) -> Answer:
            seen.append(upload.client)
            return await check(content, upload, *others, **more)  # type: ignore[arg-type]

        patch.setattr(server.engine, "check", spied)

        async def opened() -> HttpDoor:
            door = HttpDoor(server.engine, replace(DOOR, address=UnixAddress(path)), tls=None)
            await door.open()
            return door

        door = server.call(opened())
        try:
            assert path.stat().st_mode & 0o777 == 0o660
            with socket.socket(socket.AF_UNIX) as connection:
                connection.connect(str(path))
                connection.sendall(b"POST /v1/scan HTTP/1.0\r\nContent-Length: 3\r\n\r\nabc")
                assert b'"allow"' in read_to_end(connection)
        finally:
            server.call(door.close(5))
    assert not path.exists()
    (client,) = seen
    assert (client.door, client.address[:4]) == ("http", "uid=")


def test_owners_come_from_keys_and_from_trusted_headers_alone(
    server: HttpServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No two uploaders share a decoder unless somebody whom the settings trust says that they are one."""
    seen: list[Client] = []
    check = server.engine.check

    async def spied(content: object, upload: Upload, *others: object, **more: object) -> Answer:
        seen.append(upload.client)
        return await check(content, upload, *others, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(server.engine, "check", spied)
    keys = tmp_path / "keys"
    plain = add_key(keys, "scan", name="plain")
    alice = add_key(keys, "scan", name="alice-key", owner="alice")
    again = add_key(keys, "scan", name="alice-other", owner="alice")

    def owner(site: Site, key: str = "", **headers: str) -> tuple[str, str]:
        assert site.ask("POST", "/v1/scan", b"abc", key=key, **headers).status == 200
        client = seen.pop()
        return client.owner, client.customer

    with server.door() as site:
        first, second = owner(site, X_Owner="bob"), owner(site, X_Owner="bob", X_Forwarded_For="192.0.2.1")
        assert first[0] != second[0]
        assert first[1] == second[1] == ""
        connection = http.client.HTTPConnection("127.0.0.1", site.port, timeout=60)
        for _ in range(2):
            connection.request("POST", "/v1/scan", b"abc")
            connection.getresponse().read()
        connection.close()
        assert len({client.owner for client in seen}) == 2
        seen.clear()
    with server.door(replace(DOOR, one_owner=True)) as site:
        assert owner(site) == owner(site)
    with server.door(replace(DOOR, owner_header="X-Owner")) as site:
        assert owner(site, X_Owner="bob") == owner(site, X_Owner="bob") == ("name: bob", "bob")
        assert owner(site, X_Owner="request 1")[0] == "name: request 1"
        assert owner(site)[0].startswith("request ")
        for wrong in ("x" * 201, "a\tb"):
            assert site.ask("POST", "/v1/scan", b"abc", X_Owner=wrong).code == "invalid_request"
        twice = (
            b"POST /v1/scan HTTP/1.1\r\nX-Owner: a\r\nx-owner: b\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc"
        )
        assert site.send(twice).startswith(b"HTTP/1.1 400")
    with server.door(replace(DOOR, owner_header="X-Owner"), keys=keys) as site:
        owners = [
            owner(site, plain)[0],
            owner(site, plain)[0],
            owner(site, alice)[0],
            owner(site, alice, X_Owner="bob")[0],
            owner(site, plain, X_Owner="bob")[0],
            owner(site, plain, X_Owner="alice")[0],
        ]
        assert len(set(owners)) == len(owners)
        assert owner(site, again) == owner(site, alice) == ("owner alice", "alice")
        assert owner(site, again, X_Owner="bob")[0] == owners[3]


def test_clients_take_turns_by_key(
    server: HttpServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Applications behind one proxy have one address."""
    turns: list[Turn] = []
    check = server.engine.check

    async def spied(content: object, upload: Upload, *others: object, **more: object) -> Answer:
        turns.append(upload.client.turn)
        return await check(content, upload, *others, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(server.engine, "check", spied)
    keys = [add_key(tmp_path / "keys", "scan", name=name) for name in ("one", "other")]
    with server.door(replace(DOOR, owner_header="X-Owner"), keys=tmp_path / "keys") as site:
        for key in keys:
            for owner in ({}, {"X_Owner": "bob"}):
                site.ask("POST", "/v1/scan", b"abc", key=key, **owner)
    assert [client for client, _ in turns] == ["key one", "key one", "key other", "key other"]
    assert [party for _, party in turns[1::2]] == ["name bob", "name bob"]
    with server.door() as site:
        site.ask("POST", "/v1/scan", b"abc")
        site.ask("POST", "/v1/scan", b"abc")
    (first, one), (second, two) = turns[4:]
    assert first == second == "127.0.0.1"
    assert one != two
