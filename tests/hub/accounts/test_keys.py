"""Organisations and their keys."""

from __future__ import annotations

import time
from typing import Any

import pytest
from sqlalchemy import select, text

from hashscan.errors import UsageError
from hashscan.hub.accounts.audit import read_audit
from hashscan.hub.accounts.keys import (
    RIGHTS,
    HubKey,
    add_key,
    find_key,
    key_named,
    keys_of,
    note_use,
    revoke_key,
    rotate_key,
)
from hashscan.hub.accounts.organisations import (
    add_organisation,
    change_organisation,
    close_organisation,
    delete_organisation,
    organisation_named,
    organisations,
)
from hashscan.hub.storage.database import Database
from hashscan.hub.storage.tables import KEYS

NOW = int(time.time())


def add(database: Database, name: str = "k", organisation: str = "alpha", **options: Any) -> str:
    with database.transaction() as connection:
        return add_key(connection, "cli me", organisation, name, RIGHTS, **options)


def found(database: Database, secret: str, now: int = NOW) -> HubKey | None:
    with database.reading() as connection:
        return find_key(connection, secret, now)


@pytest.fixture
def two(database: Database) -> Database:
    """A database with two organisations."""
    with database.transaction() as connection:
        for name in ("alpha", "beta"):
            add_organisation(connection, "cli me", name)
    return database


def test_a_key_is_found_by_itself_and_stored_nowhere(two: Database) -> None:
    secret = add(two, digests_per_day=5, requests_per_minute=6, detail="answer")
    key = found(two, secret)
    assert key is not None
    assert (key.name, key.organisation_name, key.rights, key.detail) == ("k", "alpha", RIGHTS, "answer")
    assert (key.digests_per_day, key.requests_per_minute, key.used) == (5, 6, None)
    for wrong in (secret[:-1], secret + "x", secret.lower(), "", "\ud800"):
        assert found(two, wrong) is None
    with two.reading() as connection:
        stored = repr(connection.execute(select(KEYS)).all()) + repr(list(read_audit(two)))
    assert secret not in stored
    assert secret.partition("_")[2] not in stored


def test_a_key_has_limits_unless_it_is_given_none(two: Database) -> None:
    limited, free = add(two), add(two, "free", digests_per_day=0, requests_per_minute=0)
    for secret, limits in ((limited, (10_000_000, 600)), (free, (0, 0))):
        made = found(two, secret)
        assert made is not None
        assert (made.digests_per_day, made.requests_per_minute) == limits


def test_an_expired_key_is_refused(two: Database) -> None:
    secret = add(two, expires=NOW + 10)
    assert found(two, secret, NOW + 9)
    assert found(two, secret, NOW + 10) is None


def test_rotation_keeps_both_keys_valid_for_a_while(two: Database) -> None:
    old = add(two, digests_per_day=5, detail="category")
    with two.transaction() as connection:
        new = rotate_key(connection, "cli me", "alpha", "k", 100)
    later = int(time.time()) + 200
    assert found(two, old)
    assert found(two, old, later) is None
    key = found(two, new, later)
    assert key is not None
    assert (key.name, key.digests_per_day, key.detail) == ("k", 5, "category")


def test_rotation_prolongs_no_key(two: Database) -> None:
    old = add(two, expires=NOW + 10)
    with two.transaction() as connection:
        new = rotate_key(connection, "cli me", "alpha", "k", 1000)
    assert found(two, old, NOW + 11) is None
    assert found(two, new, NOW + 11) is None


def test_revocation_includes_the_keys_that_were_replaced(two: Database) -> None:
    old, other, foreign = add(two), add(two, "other"), add(two, organisation="beta")
    with two.transaction() as connection:
        new = rotate_key(connection, "cli me", "alpha", "k", 1000)
    with two.transaction() as connection:
        revoke_key(connection, "cli me", "alpha", "k")
    assert [bool(found(two, secret)) for secret in (old, new, other, foreign)] == [False, False, True, True]
    with two.transaction() as connection:
        before = key_named(connection, "alpha", "k")
        revoke_key(connection, "cli me", "alpha", "k")
        assert key_named(connection, "alpha", "k") == before
        with pytest.raises(UsageError):
            rotate_key(connection, "cli me", "alpha", "k", 1)
    revoked = [line["name"] for line, _ in read_audit(two) if line["action"] == "key.revoke"]
    assert len(revoked) == 2


def test_a_key_can_be_rotated_twice_at_once(two: Database) -> None:
    """Also within the second that is in the old key's name."""
    add(two)
    for _ in range(3):
        with two.transaction() as connection:
            rotate_key(connection, "cli me", "alpha", "k", 1000)
    with two.transaction() as connection:
        old = [key.name for key in keys_of(connection, "alpha") if key.replaced_by]
        assert len(old) == 3
        for name in old:
            with pytest.raises(UsageError):
                rotate_key(connection, "cli me", "alpha", name, 1000)
        revoke_key(connection, "cli me", "alpha", "k")
        assert all(key.revoked is not None for key in keys_of(connection, "alpha"))


def test_a_closed_organisation_is_refused(two: Database) -> None:
    secret, other = add(two), add(two, organisation="beta")
    for closed in (True, False):
        with two.transaction() as connection:
            close_organisation(connection, "cli me", "alpha", closed=closed)
        assert (found(two, secret) is None) == closed
        assert found(two, other)


def test_names_of_another_organisation_are_not_found(two: Database) -> None:
    add(two, "only-alpha")
    with two.transaction() as connection:
        with pytest.raises(UsageError):
            key_named(connection, "beta", "only-alpha")
        with pytest.raises(UsageError):
            revoke_key(connection, "cli me", "beta", "only-alpha")
        with pytest.raises(UsageError):
            rotate_key(connection, "cli me", "beta", "only-alpha", 10)
    with two.reading() as connection:
        assert keys_of(connection, "beta") == []
        with pytest.raises(UsageError):
            keys_of(connection, "gamma")


@pytest.mark.parametrize("name", ["", ".k", "a b", "a/b", "k" * 65, "k\n", "\u00e9", "k.old-1"])
def test_names_that_a_key_can_not_have(two: Database, name: str) -> None:
    with pytest.raises(UsageError):
        add(two, name)


def test_a_name_is_taken_once(two: Database) -> None:
    add(two)
    add(two, organisation="beta")
    with pytest.raises(UsageError):
        add(two)


def test_the_day_of_the_last_use_is_noted(two: Database) -> None:
    secret = add(two)
    for now in (NOW, NOW + 1):
        key = found(two, secret)
        assert key is not None
        with two.transaction() as connection:
            note_use(connection, key, now)
    key = found(two, secret)
    assert key is not None
    assert key.used == NOW - NOW % 86_400


VALUES: dict[str, Any] = {
    "title": "Alpha Hosting B.V.",
    "country": "NL",
    "contacts": ("abuse@alpha.example", "noc@alpha.example"),
    "networks": ("192.0.2.0/24", "2001:db8::/32"),
    "as_numbers": (64496, 4_294_967_295),
}


def test_an_organisation_is_kept_with_all_values(database: Database) -> None:
    with database.transaction() as connection:
        made = add_organisation(connection, "cli me", "alpha", **VALUES)
        assert {name: getattr(made, name) for name in VALUES} == VALUES
        change_organisation(connection, "cli me", "alpha", country="DE")
        changed = organisation_named(connection, "alpha")
        assert {name: getattr(changed, name) for name in VALUES} == {**VALUES, "country": "DE"}
        assert [each.name for each in organisations(connection)] == ["alpha"]
        with pytest.raises(UsageError):
            add_organisation(connection, "cli me", "alpha")


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("Alpha", {}),
        ("-a", {}),
        ("a" * 64, {}),
        ("a\n", {}),
        ("a", {"title": "two\nlines"}),
        ("a", {"title": "\x1b[31m"}),
        ("a", {"country": "nl"}),
        ("a", {"contacts": ["nobody"]}),
        ("a", {"contacts": ["a@b.example\nBcc: c@d.example"]}),
        ("a", {"networks": ["192.0.2.1/24"]}),
        ("a", {"as_numbers": [0]}),
        ("a", {"as_numbers": [1 << 32]}),
    ],
)
def test_values_that_an_organisation_can_not_have(
    database: Database, name: str, values: dict[str, Any]
) -> None:
    with pytest.raises(UsageError), database.transaction() as connection:
        add_organisation(connection, "cli me", name, **values)
    with database.reading() as connection:
        assert organisations(connection) == []


def test_deleting_an_organisation_deletes_its_keys_alone(two: Database) -> None:
    secret, other = add(two), add(two, organisation="beta")
    with two.transaction() as connection:
        delete_organisation(connection, "cli me", "alpha")
        assert [each.name for each in organisations(connection)] == ["beta"]
        assert connection.execute(text("SELECT count(*) FROM keys")).scalar() == 1
    assert found(two, secret) is None
    assert found(two, other)
    assert [line["action"] for line, _ in read_audit(two)][-1] == "organisation.delete"
