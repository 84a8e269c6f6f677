from __future__ import annotations

import json
from pathlib import Path

from hashscan.service.doors.http.keys import Keys
from tests.cli.conftest import Run


def test_a_key_is_shown_once_listed_and_revoked(tmp_path: Path, run: Run) -> None:
    file = tmp_path / "keys.json"
    options = ("--http-keys", file)
    rights = ("--right", "metrics", "--right", "scan")
    added = run("keys", "add", "shop", *options, *rights, "--owner", "alice", "--rate", "2.5")
    assert added.code == 0, added.err
    secret = added.out.strip()
    key = Keys(file).find(secret)
    assert key is not None
    assert (key.name, key.rights, key.owner) == ("shop", ("scan", "metrics"), "alice")
    assert (key.requests_per_second, key.expires) == (2.5, "")
    again = run("keys", "add", "shop", *options, *rights)
    assert again.code == 2
    assert run("keys", "add", "old", *options, *rights, "--until", "2099-01-31").code == 0
    assert run("keys", "add", "older", *options, *rights, "--until", "2020-01-31").code == 2
    assert run("keys", "add", "bad name", *options, *rights).code == 2
    assert run("keys", "add", "none", *options).code == 2
    assert run("keys", "add", "fast", *options, *rights, "--rate", "nan").code == 2

    listed = run("keys", "list", *options, "--format", "json")
    rows = [json.loads(line) for line in listed.out.splitlines()]
    assert [(row["name"], row["expires"]) for row in rows] == [("shop", ""), ("old", "2099-02-01T00:00:00Z")]
    for shown in (listed, run("keys", "list", *options)):
        assert shown.code == 0
        assert secret not in shown.out
        assert key.sha256 not in shown.out

    followed = Keys(file)
    assert run("keys", "revoke", "shop", "unknown", *options).code == 2
    assert followed.find(secret) is not None
    assert run("keys", "revoke", "shop", *options).code == 0
    assert followed.find(secret) is None
    assert run("keys", "revoke", "shop", *options).code == 2


def test_a_missing_or_exposed_file_is_an_error(tmp_path: Path, run: Run) -> None:
    file = tmp_path / "keys.json"
    options = ("--http-keys", file)
    assert run("keys", "list", *options).code == 2
    assert run("keys", "revoke", "shop", *options).code == 2
    assert run("keys", "add", "shop", "--http-keys", tmp_path / "no" / "keys", "--right", "scan").code == 12
    assert list(tmp_path.iterdir()) == []
    assert run("keys", "add", "shop", *options, "--right", "scan").code == 0
    file.chmod(0o644)
    assert run("keys", "list", *options).code == 2
    assert run("keys", "add", "more", *options, "--right", "scan").code == 2
