"""Clients of others ask the real service: each of them finds the planted picture, and lets clean files pass.

Tests are skipped where their program is not installed: clamdscan, rspamd, proftpd with mod_clamav (Debian),
and npm's clamscan in the folder that TEST_NODE_MODULES names.
"""

from __future__ import annotations

import ftplib
import io
import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import clamd
import pyclamd
import pytest

from hashscan.service.doors.clamd.door import ClamdDoor
from hashscan.settings.service import DoorSettings, TcpAddress, UnixAddress
from hashscan.state_dir import StateDir
from tests.service.doors.clamd.talking import EICAR
from tests.service.doors.clients import EXAMPLES, ask_rspamd, free_port, needs_rspamd, running
from tests.service.serving import STRICT, Service, clean, make_state, planted, served

PATH = f"{os.environ.get('PATH', '')}:/usr/sbin"
CLAMDSCAN, PROFTPD, NODE = (shutil.which(name, path=PATH) for name in ("clamdscan", "proftpd", "node"))
MOD_CLAMAV = Path("/usr/lib/proftpd/mod_clamav.so")
NODE_MODULES = Path(os.environ.get("TEST_NODE_MODULES", "/nonexistent"))
NAME = r"hashscan\.Blocked-[0-9A-Z]{16}"


@pytest.fixture(scope="module")
def state(tmp_path_factory: pytest.TempPathFactory) -> StateDir:
    return make_state(tmp_path_factory.mktemp("state"))


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("files")
    (folder / "planted.jpg").write_bytes(planted())
    (folder / "clean.jpg").write_bytes(clean())
    (folder / "sub").mkdir()
    (folder / "sub" / "planted.jpg").write_bytes(planted())
    (folder / "sub" / "clean.txt").write_text("text")
    return folder


@contextmanager
def serving(
    state: StateDir, address: UnixAddress | TcpAddress, root: Path | None = None
) -> Iterator[Service]:
    """Serve at a clamd door."""
    door = DoorSettings("clamd", address, STRICT)
    with served(state, lambda engine, settings: ClamdDoor(engine, settings, root), door) as service:
        yield service


@pytest.fixture(scope="module")
def unix(state: StateDir, files: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    path = tmp_path_factory.mktemp("door") / "clamd.sock"
    with serving(state, UnixAddress(path), files):
        yield path


@pytest.fixture(scope="module")
def port(state: StateDir) -> Iterator[int]:
    with serving(state, TcpAddress("127.0.0.1", 0)) as service:
        yield service.address.port


@pytest.mark.skipif(CLAMDSCAN is None, reason="clamdscan is not installed")
@pytest.mark.parametrize("door", ["unix", "tcp"])
@pytest.mark.parametrize(
    "options", [[], ["--stream"], ["--fdpass"], ["--multiscan"], ["--fdpass", "--multiscan"], ["--allmatch"]]
)
def test_clamdscan(unix: Path, port: int, files: Path, tmp_path: Path, door: str, options: list[str]) -> None:
    if door == "tcp":
        options = ["--stream", *options] if "--fdpass" not in options else ["--stream"]
    configuration = tmp_path / "clamd.conf"
    configuration.write_text(
        f"LocalSocket {unix}\n" if door == "unix" else f"TCPSocket {port}\nTCPAddr 127.0.0.1\n"
    )
    command = [str(CLAMDSCAN), f"--config-file={configuration}", *options]
    ended = subprocess.run([*command, files], capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 1, ended
    assert sorted(re.findall(rf"(?m)^(.*): {NAME} FOUND$", ended.stdout)) == sorted(
        str(files / name) for name in ("planted.jpg", "sub/planted.jpg")
    )
    assert "Infected files: 2" in ended.stdout
    assert "ERROR" not in ended.stdout
    passed = subprocess.run(
        [*command, files / "clean.jpg"], capture_output=True, text=True, timeout=60, check=False
    )
    assert passed.returncode == 0, passed
    assert f"{files}/clean.jpg: OK" in passed.stdout


@pytest.mark.parametrize("door", ["unix", "tcp"])
def test_clamd_of_pypi(unix: Path, port: int, files: Path, door: str) -> None:
    client: Any = (
        clamd.ClamdUnixSocket(str(unix)) if door == "unix" else clamd.ClamdNetworkSocket("127.0.0.1", port)
    )
    assert client.ping() == "PONG"
    assert client.version().startswith("ClamAV 1.4.0-hashscan-")
    kind, name = client.instream(io.BytesIO(planted()))["stream"]
    assert kind == "FOUND"
    assert re.fullmatch(NAME, name)
    assert client.instream(io.BytesIO(clean())) == {"stream": ("OK", None)}
    assert client.instream(io.BytesIO(EICAR)) == {"stream": ("FOUND", "Eicar-Test-Signature")}
    with pytest.raises(clamd.BufferTooLongError):
        client.instream(io.BytesIO(bytes(6 << 20)))
    if door == "unix":
        expected = {str(files / name) for name in ("planted.jpg", "sub/planted.jpg")}
        assert set(client.contscan(str(files))) == set(client.multiscan(str(files))) == expected
    else:
        with pytest.raises(clamd.ResponseError):
            client.scan(str(files))


@pytest.mark.parametrize("door", ["unix", "tcp"])
def test_pyclamd(unix: Path, port: int, files: Path, door: str) -> None:
    client: Any = (
        pyclamd.ClamdUnixSocket(str(unix))
        if door == "unix"
        else pyclamd.ClamdNetworkSocket("127.0.0.1", port)
    )
    assert client.ping()
    kind, name = client.scan_stream(planted())["stream"]
    assert kind == "FOUND"
    assert re.fullmatch(NAME, name)
    assert client.scan_stream(clean()) is None
    assert client.scan_stream(EICAR) == {"stream": ("FOUND", "Eicar-Test-Signature")}
    if door == "unix":
        assert set(client.multiscan_file(str(files))) == {
            str(files / name) for name in ("planted.jpg", "sub/planted.jpg")
        }


SCRIPT = """
const NodeClam = require('clamscan');
const fs = require('fs');
(async () => {
  const [options, folder] = JSON.parse(process.argv[1]);
  const clam = await new NodeClam().init({ preference: 'clamdscan',
    clamdscan: { ...options, timeout: 20000, localFallback: false } });
  const found = {};
  for (const name of ['planted.jpg', 'clean.jpg'])
    found[name] = [(await clam.isInfected(folder + '/' + name)).isInfected,
      (await clam.scanStream(fs.createReadStream(folder + '/' + name))).isInfected];
  const all = await clam.scanDir(folder);
  console.log(JSON.stringify([await clam.getVersion(), found, all.badFiles.length, all.goodFiles.length]));
})();
"""


@pytest.mark.skipif(
    NODE is None or not (NODE_MODULES / "clamscan").is_dir(), reason="npm's clamscan is not installed"
)
@pytest.mark.parametrize("door", ["unix", "tcp"])
def test_clamscan_of_npm(unix: Path, port: int, files: Path, tmp_path: Path, door: str) -> None:
    options: Any = {"socket": str(unix)} if door == "unix" else {"host": "127.0.0.1", "port": port}
    ended = subprocess.run(
        [str(NODE), "-e", SCRIPT, "--", json.dumps([options, str(files)])],
        env=os.environ | {"NODE_PATH": str(NODE_MODULES)},
        capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip
    version, found, bad, good = json.loads(ended.stdout)
    assert version.startswith("ClamAV ")
    assert found == {"planted.jpg": [True, True], "clean.jpg": [False, False]}
    assert (bad, good) == (2, 2)


@pytest.mark.slow
@needs_rspamd
def test_rspamd(port: int, tmp_path: Path) -> None:
    example = (EXAMPLES / "rspamd" / "antivirus.conf").read_text()
    assert "127.0.0.1:3310" in example
    settings = example.replace("127.0.0.1:3310", f"127.0.0.1:{port}")
    refused, passed = ask_rspamd(tmp_path, "antivirus", settings, planted(), clean())
    assert (refused["action"], passed["action"]) == ("reject", "no action")
    assert "HASHSCAN" in refused["symbols"]
    assert "HASHSCAN" not in passed["symbols"]


@pytest.mark.skipif(
    PROFTPD is None or not MOD_CLAMAV.exists() or os.geteuid() != 0,
    reason="proftpd with mod_clamav is not installed, or this is not root",
)
def test_proftpd(port: int, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("ftp")
    for above in (folder, folder.parent, folder.parent.parent):
        above.chmod(0o755)
    uploads = folder / "uploads"
    uploads.mkdir()
    os.chown(uploads, 65534, 65534)
    listening = free_port()
    example = (EXAMPLES / "proftpd" / "hashscan.conf").read_text().replace("3310", str(port))
    hashed = subprocess.run(
        ["openssl", "passwd", "-6", "password"], capture_output=True, text=True, check=True
    ).stdout.strip()
    users = folder / "users"
    users.write_text(f"user:{hashed}:65534:65534::{uploads}:/bin/false\n")
    users.chmod(0o600)
    configuration = folder / "proftpd.conf"
    configuration.write_text(
        f"ModulePath /usr/lib/proftpd\nLoadModule mod_ls.c\nLoadModule mod_xfer.c\nLoadModule mod_clamav.c\n"
        f"ServerType standalone\nPort {listening}\nDefaultAddress 127.0.0.1\nUseIPv6 off\nUser nobody\n"
        f"Group nogroup\nPidFile {folder}/pid\nScoreboardFile {folder}/score\nRequireValidShell off\n"
        f"WtmpLog off\nTransferLog none\nAuthPAM off\nAuthUserFile {users}\nDefaultRoot {uploads}\n" + example
    )
    with running([str(PROFTPD), "-n", "-c", str(configuration)], listening, folder / "log"):
        for name, content in (("planted.jpg", planted()), ("clean.jpg", clean())):
            # After a refusal, the module sends one reply too many.
            ftp = ftplib.FTP()
            ftp.connect("127.0.0.1", listening, timeout=30)
            ftp.login("user", "password")
            if name == "clean.jpg":
                assert ftp.storbinary(f"STOR {name}", io.BytesIO(content)).startswith("226 ")
            else:
                with pytest.raises(ftplib.error_perm, match=NAME):
                    ftp.storbinary(f"STOR {name}", io.BytesIO(content))
            ftp.close()
    assert os.listdir(uploads) == ["clean.jpg"]


def test_nextcloud_is_configured(tmp_path: Path) -> None:
    """The example calls Nextcloud's command once for each setting; this one keeps them."""
    settings = tmp_path / "settings"
    occ = tmp_path / "occ"
    occ.write_text(f'#!/bin/sh\necho "$@" >>{settings}\n')
    occ.chmod(0o755)
    environment = os.environ | {"OCC": str(occ), "LIMIT": "1048576"}
    subprocess.run([EXAMPLES / "nextcloud" / "configure.sh"], env=environment, check=True)
    lines = settings.read_text().splitlines()
    assert lines[0] == "app:enable files_antivirus"
    values = dict(
        line.removeprefix("config:app:set files_antivirus ").split(" --value=") for line in lines[1:]
    )
    chunks = 1048576 // 8192
    assert int(values["av_stream_max_length"]) >= 1048576 + 4 * chunks
    assert values["av_socket"] == "/run/hashscan/clamd.sock"
