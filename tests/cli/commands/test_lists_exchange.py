"""Lists of exchanges by the real command: from adding one to moving a file on its word."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.conftest import Run
from tests.lists.exchanges.servers import PASSWORD, USER, Media, Served, ncmec_served
from tests.pictures import encoded, scene

pytest.importorskip("threatexchange", reason="of the extra exchange")


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    with ncmec_served(tmp_path / "exchange") as served:
        yield served


@pytest.mark.parametrize(
    "options",
    [
        ("--exchange", "ncmec"),
        ("--exchange", "ncmec", "--environment", "Industry"),
        ("--exchange", "nobody", "--credentials", "FILE"),
        ("--exchange", "ncmec", "--credentials", "FILE"),
        ("--exchange", "ncmec", "--environment", "Nowhere", "--credentials", "FILE"),
        ("--exchange", "ncmec", "--environment", "Industry", "--credentials", "FILE", "--root", "FILE"),
        ("https://lists.example.org/", "--exchange", "ncmec", "--credentials", "FILE"),
        ("--environment", "Industry"),
        ("--exchange", "ncmec", "--environment", "Industry", "--credentials", "FILE", "--stale-after", "0"),
        (),
    ],
)
def test_options_that_do_not_go_together(run: Run, served: Served, options: tuple[str, ...]) -> None:
    placed = [served.credentials if option == "FILE" else option for option in options]
    assert run("lists", "add", "mine", *placed).code == 2
    assert run("lists", "status").code == 10


def test_a_match_is_reported_and_moved_only_where_exchanges_may_act(
    run: Run, served: Served, tmp_path: Path
) -> None:
    files = tmp_path / "files"
    files.mkdir()
    photo = files / "photo.jpg"
    photo.write_bytes(encoded(scene(11)))
    md5 = hashlib.md5(photo.read_bytes()).hexdigest()
    served.ncmec.put(Media(42, "photo", int(time.time()) - 7200, {"md5": md5}))
    ran = run(
        *("lists", "add", "mine", "--exchange", "ncmec", "--environment", "Industry"),
        *("--credentials", served.credentials, "--proxy", served.proxy, "--ca-file", served.ca_file),
    )
    assert ran.code == 0, ran.err
    ran = run("lists", "pull")
    assert ran.code == 0, ran.err
    assert run("lists", "status").code == 0
    assert run("lists", "verify").code == 0
    quarantine = ("--quarantine", "--retain-min", "90d", "--destroy-by", "365d")
    assert run("scan", files, *quarantine).code == 1
    assert photo.exists()
    assert run("scan", files, *quarantine, "--act-on", "stale-exchange", "--act-on", "local").code == 1
    assert photo.exists()
    assert run("scan", files, *quarantine, "--act-on", "exchange").code == 1
    assert not photo.exists()
    served.ncmec.fault = lambda request, path: bool(request.send_error(403)) or True
    ran = run("lists", "pull", "mine")
    assert ran.code == 13
    assert not any(secret in ran.err + ran.out for secret in (USER, PASSWORD, md5))
    assert run("lists", "remove", "mine").code == 0
