"""URLs as the world sees them: what is asked of whom, and what the answers mean; servers are hostile."""

from __future__ import annotations

import hashlib
import socket
import ssl
from collections.abc import Iterator, Sequence
from datetime import date
from http.server import BaseHTTPRequestHandler
from ipaddress import ip_network
from pathlib import Path

import pytest

from hashscan.cases.notices.pictures import PictureDigester
from hashscan.outside import looking
from hashscan.outside.looking import Cause, Content, Look, Looker, Outcome, worst
from hashscan.outside.permission import Permission, permission_by_proxy, permission_for
from hashscan.settings.outside import Mandate, OutsideSettings
from tests.certificates import Authority
from tests.outside.web_servers import Page, Site, site
from tests.pictures import encoded, scene
from tests.web import proxying, serving

pytestmark = pytest.mark.integration
NOW = 1_800_000_000.0
OWN = OutsideSettings((ip_network("127.0.0.0/8"),))
MANDATE = Mandate("authority", "law", date(2027, 6, 30))


@pytest.fixture
def server() -> Iterator[Site]:
    with site() as made:
        yield made


def no_picture(data: bytes) -> Sequence[tuple[str, str]]:
    return ()


def look(
    url: str,
    settings: OutsideSettings = OWN,
    baseline: bytes | None = None,
    *,
    servers: Sequence[str] = ("127.0.0.1",),
    ca_file: Path | None = None,
) -> list[Look]:
    known = None if baseline is None else Content(hashlib.sha256(baseline).digest())
    ca = None if ca_file is None else str(ca_file)
    with Looker(settings, no_picture, ca_file=ca, resolve=lambda host, port: servers) as looker:
        return looker.look(url, known, NOW)


def seen(looks: Sequence[Look]) -> set[tuple[Outcome, Cause, int | None]]:
    return {(one.outcome, one.cause, one.status) for one in looks}


@pytest.mark.parametrize(
    ("address", "settings", "expected"),
    [
        ("127.0.0.1", OutsideSettings(), Permission.NOTHING),
        ("169.254.169.254", OutsideSettings(mandate=MANDATE), Permission.NOTHING),
        ("::ffff:10.0.0.1", OutsideSettings(mandate=MANDATE), Permission.NOTHING),
        ("fe80::1%eth0", OutsideSettings(mandate=MANDATE), Permission.NOTHING),
        ("64:ff9b::a00:1", OutsideSettings(mandate=MANDATE), Permission.NOTHING),
        ("127.0.0.1", OWN, Permission.BODY),
        ("93.184.216.34", OWN, Permission.HEAD),
        ("93.184.216.34", OutsideSettings(mandate=MANDATE), Permission.BODY),
        ("93.184.216.34", OutsideSettings(mandate=Mandate("a", "b", date(2026, 12, 31))), Permission.HEAD),
    ],
)
def test_what_may_be_asked(address: str, settings: OutsideSettings, expected: Permission) -> None:
    assert permission_for(address, settings, NOW) is expected


def test_a_mandate_holds_on_its_last_day() -> None:
    assert Mandate("a", "b", date(2027, 1, 15)).holds(NOW)
    assert not Mandate("a", "b", date(2027, 1, 14)).holds(NOW)


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "[::1]", "10.1.2.3", "0x7f.1", "2130706433", "printer.local", "intranet"]
)
def test_private_hosts_are_refused_by_a_proxy(host: str) -> None:
    assert permission_by_proxy(host, OutsideSettings(mandate=MANDATE), NOW) is Permission.NOTHING


def test_each_server_is_asked_as_it_is_and_past_caches(server: Site) -> None:
    server.pages["/a.jpg"] = Page(body=b"content")
    looks = look(f"http://x.example:{server.port}/a.jpg?q=1", baseline=b"content")
    assert [(one.server, one.fresh, one.outcome) for one in looks] == [
        ("127.0.0.1", False, Outcome.THERE),
        ("127.0.0.1", True, Outcome.THERE),
    ]
    targets = [target for _, _, target in server.asked]
    assert targets[0] == "/a.jpg?q=1"
    assert targets[1].startswith("/a.jpg?q=1&hashscan=")
    assert {host for _, host, _ in server.asked} == {f"x.example:{server.port}"}
    assert seen(look(f"http://x.example:{server.port}/a.jpg", baseline=b"other")) == {
        (Outcome.CHANGED, Cause.BYTES, 200)
    }
    first = look(f"http://x.example:{server.port}/a.jpg")
    assert seen(first) == {(Outcome.ANSWERS, Cause.STATUS, 200)}
    assert first[0].content == Content(hashlib.sha256(b"content").digest())


def test_a_cache_that_goes_on_serving_is_noticed(server: Site) -> None:
    server.answer = lambda target: Page(404) if "hashscan=" in target else Page(body=b"content")
    looks = look(f"http://x.example:{server.port}/a.jpg", baseline=b"content")
    assert [one.outcome for one in looks] == [Outcome.THERE, Outcome.GONE]
    assert worst([one.outcome for one in looks]) is Outcome.THERE


def test_a_picture_in_other_bytes_is_there(server: Site) -> None:
    picture = scene(3)
    before, after = encoded(picture, "PNG"), encoded(picture, "JPEG")
    server.pages["/a"] = Page(body=after)
    url = f"http://x.example:{server.port}/a"
    with PictureDigester() as digest, Looker(OWN, digest, resolve=lambda host, port: ["127.0.0.1"]) as looker:
        found = dict(digest(before))
        baseline = Content(bytes.fromhex(found["sha256"]), bytes.fromhex(found["pdq"]))
        assert seen(looker.look(url, baseline, NOW)) == {(Outcome.THERE, Cause.PICTURE, 200)}
        server.pages["/a"] = Page(body=encoded(scene(4), "JPEG"))
        assert seen(looker.look(url, baseline, NOW)) == {(Outcome.CHANGED, Cause.BYTES, 200)}


@pytest.mark.parametrize(
    ("status", "outcome"),
    [
        (404, Outcome.GONE), (410, Outcome.GONE), (451, Outcome.GONE), (403, Outcome.UNCLEAR),
        (405, Outcome.UNCLEAR), (500, Outcome.UNCLEAR), (501, Outcome.UNCLEAR), (206, Outcome.UNCLEAR),
        (204, Outcome.UNCLEAR), (429, Outcome.UNCLEAR),
    ],
)  # fmt: skip
def test_statuses(server: Site, status: int, outcome: Outcome) -> None:
    server.pages["/a"] = Page(status)
    assert seen(look(f"http://x.example:{server.port}/a")) == {(outcome, Cause.STATUS, status)}


@pytest.fixture
def as_if_public(monkeypatch: pytest.MonkeyPatch) -> None:
    """Loopback counts as a public network."""
    monkeypatch.setattr("hashscan.outside.permission.is_public_address", lambda address: True)


@pytest.mark.usefixtures("as_if_public")
def test_without_a_mandate_only_head_is_sent_and_no_redirect_followed(server: Site) -> None:
    server.pages |= {
        "/a": Page(body=b"content"),
        "/b": Page(302, headers={"Location": "/a"}),
        "/c": Page(405),
        "/d": Page(501),
    }
    base = f"http://x.example:{server.port}"
    assert seen(look(f"{base}/a", OutsideSettings(), b"content")) == {(Outcome.ANSWERS, Cause.STATUS, 200)}
    assert seen(look(f"{base}/b", OutsideSettings())) == {(Outcome.UNCLEAR, Cause.STATUS, 302)}
    for path in ("c", "d"):
        assert {one.outcome for one in look(f"{base}/{path}", OutsideSettings())} == {Outcome.UNCLEAR}
    assert {method for method, _, _ in server.asked} == {"HEAD"}
    assert len(server.asked) == 8
    with_mandate = OutsideSettings(mandate=MANDATE)
    assert seen(look(f"{base}/b", with_mandate, b"content")) == {(Outcome.THERE, Cause.BYTES, 200)}


def test_private_addresses_are_not_asked(server: Site) -> None:
    url = f"http://x.example:{server.port}/a"
    assert seen(look(url, OutsideSettings(mandate=MANDATE))) == {(Outcome.UNCLEAR, Cause.PRIVATE, None)}
    assert server.asked == []


def test_a_name_that_changes_its_address_gains_nothing(server: Site) -> None:
    """The address that was checked is connected to, however often the name is asked for again."""
    answers = iter([["127.0.0.1"], ["169.254.169.254"], ["10.0.0.1"]])
    server.pages["/a"] = Page(302, headers={"Location": f"http://y.example:{server.port}/b"})
    with Looker(OWN, no_picture, resolve=lambda host, port: next(answers)) as looker:
        looks = looker.look(f"http://x.example:{server.port}/a", None, NOW)
    assert seen(looks) == {(Outcome.UNCLEAR, Cause.PRIVATE, None)}
    assert {target.partition("?")[0] for _, _, target in server.asked} == {"/a"}


@pytest.mark.parametrize(
    "location",
    ["/a", "//x.example/", "http://u:p@y.example/", "ftp://y.example/", "http://[::1/", ""],
)
def test_redirects_lead_nowhere(server: Site, location: str) -> None:
    server.pages["/a"] = Page(302, headers={"Location": location})
    found = seen(look(f"http://x.example:{server.port}/a"))
    assert {outcome for outcome, _, _ in found} == {Outcome.UNCLEAR}
    assert len(server.asked) <= 2 * (looking.REDIRECTS_MAX + 1)


def test_bodies_without_end(server: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(looking, "BODY_MAX", 1 << 20)
    monkeypatch.setattr(looking, "BODY_SECONDS", 0.5)

    def endless(handler: BaseHTTPRequestHandler) -> None:
        try:
            while True:
                handler.wfile.write(b"x" * 65536)
        except OSError:
            pass

    def drip(handler: BaseHTTPRequestHandler) -> None:
        try:
            for _ in range(100):
                handler.wfile.write(b"x")
                handler.wfile.flush()
                looking.time.sleep(0.05)
        except OSError:
            pass

    server.pages["/endless"] = Page(headers={"Content-Length": str(10 << 30)}, write=endless)
    server.pages["/drip"] = Page(headers={"Content-Length": "100"}, write=drip)
    server.pages["/short"] = Page(headers={"Content-Length": "100"}, write=lambda handler: None)
    server.pages["/gzip"] = Page(body=b"x", headers={"Content-Encoding": "gzip"})
    base = f"http://x.example:{server.port}"
    for path, cause in (("endless", Cause.TOO_LONG), ("drip", Cause.TOO_LONG), ("gzip", Cause.ENCODED)):
        assert {(one.outcome, one.cause) for one in look(f"{base}/{path}")} == {(Outcome.UNCLEAR, cause)}
    server.pages["/short"].headers["Connection"] = "close"
    monkeypatch.setattr(looking, "ANSWER_SECONDS", 0.5)
    assert {one.outcome for one in look(f"{base}/short")} == {Outcome.UNCLEAR}


def test_names_and_connections(server: Site) -> None:
    def resolve(error: int) -> Sequence[str]:
        raise socket.gaierror(error, "no")

    for error, outcome, cause in (
        (socket.EAI_NONAME, Outcome.GONE, Cause.NO_NAME),
        (socket.EAI_AGAIN, Outcome.UNCLEAR, Cause.NAME_SERVER),
    ):
        with Looker(OWN, no_picture, resolve=lambda host, port, error=error: resolve(error)) as looker:
            assert seen(looker.look("http://x.example/", None, NOW)) == {(outcome, cause, None)}
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
    assert seen(look(f"http://x.example:{port}/")) == {(Outcome.UNCLEAR, Cause.REFUSED, None)}
    for url in ("ftp://x.example/", "http://u:p@x.example/", "x", "http://", "http://x.example:0/", "\ud800"):
        assert seen(look(url)) == {(Outcome.UNCLEAR, Cause.ADDRESS, None)}


def test_tls_is_of_the_host_and_not_of_the_address(tmp_path: Path) -> None:
    authority = Authority(tmp_path / "ca")
    with site(authority.issue("x.example")) as server:
        server.pages["/a"] = Page(body=b"content")
        for host, expected in (
            ("x.example", (Outcome.THERE, Cause.BYTES, 200)),
            ("y.example", (Outcome.UNCLEAR, Cause.TLS, None)),
        ):
            url = f"https://{host}:{server.port}/a"
            assert seen(look(url, baseline=b"content", ca_file=authority.file)) == {expected}
        unknown = look(f"https://x.example:{server.port}/a", baseline=b"content")
        assert seen(unknown) == {(Outcome.UNCLEAR, Cause.TLS, None)}


def test_several_servers_and_one_that_is_silent(server: Site) -> None:
    server.pages["/a"] = Page(404)
    with site(address="127.0.0.2") as other:
        # Both listen at the port of one of them only.
        looks = look(f"http://x.example:{server.port}/a", servers=["127.0.0.1", "127.0.0.2"])
        assert [(one.server, one.outcome) for one in looks[::2]] == [
            ("127.0.0.1", Outcome.GONE),
            ("127.0.0.2", Outcome.UNCLEAR),
        ]
        assert other.asked == []


def test_by_a_proxy_private_hosts_are_refused_here(tmp_path: Path) -> None:
    authority, folder = Authority(tmp_path / "ca"), tmp_path / "site"
    folder.mkdir()
    (folder / "a").write_bytes(b"content")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*authority.issue("x.example"))

    def to_private(request: BaseHTTPRequestHandler) -> None:
        request.send_response(302)
        request.send_header("Location", "https://10.0.0.1/a")
        request.send_header("Content-Length", "0")
        request.end_headers()

    with serving(folder, context) as server, proxying(server) as (proxy, asked, _):
        settings = OutsideSettings(mandate=MANDATE, proxy=proxy)
        looks = look("https://x.example/a", settings, b"content", ca_file=authority.file)
        # The server of files knows no query.
        assert [(one.server, one.outcome) for one in looks] == [
            ("proxy", Outcome.THERE),
            ("proxy", Outcome.GONE),
        ]
        assert set(asked) == {"CONNECT x.example:443"}
        asked.clear()
        for host in ("10.0.0.1", "printer.local", "[::1]"):
            assert seen(look(f"https://{host}/a", settings)) == {(Outcome.UNCLEAR, Cause.PRIVATE, None)}
        assert asked == []
        for end in ("/b", ""):
            server.answers[end] = to_private
        found = look("https://x.example/b", settings, ca_file=authority.file)
        assert seen(found) == {(Outcome.UNCLEAR, Cause.PRIVATE, None)}
        assert set(asked) == {"CONNECT x.example:443"}


def test_a_picture_that_can_not_be_compared_is_not_called_changed(server: Site) -> None:
    server.pages["/a"] = Page(body=encoded(scene(3), "JPEG"))
    url, of_file = f"http://x.example:{server.port}/a", Content(b"f" * 32)
    with PictureDigester() as digest, Looker(OWN, digest, resolve=lambda host, port: ["127.0.0.1"]) as looker:
        assert {one.outcome for one in looker.look(url, of_file, NOW)} == {Outcome.ANSWERS}
        server.pages["/a"] = Page(body=b"<html>gone, but with 200</html>")
        assert {one.outcome for one in looker.look(url, of_file, NOW)} == {Outcome.CHANGED}
    with Looker(OWN, lambda data: [("md5", "0")], resolve=lambda host, port: ["127.0.0.1"]) as looker:
        assert {one.outcome for one in looker.look(url, Content(b"f" * 32, b"p" * 32), NOW)} == {
            Outcome.ANSWERS
        }


def test_a_host_without_addresses(server: Site) -> None:
    assert seen(look("http://x.example/", servers=())) == {(Outcome.UNCLEAR, Cause.NAME_SERVER, None)}
