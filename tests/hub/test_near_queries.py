"""A listed PDQ is not recovered from answers without notice, and no ordinary client is taken for that."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterator
from io import BytesIO
from itertools import product

import numpy as np
import pytest
from PIL import Image, ImageEnhance
from sqlalchemy import func, select

from hashscan.hashing.pdq import PDQ
from hashscan.hub.accounts.audit import read_audit
from hashscan.hub.accounts.keys import key_named
from hashscan.hub.checks.near_queries import (
    ALGORITHM,
    IMPOSSIBLE_MAX,
    SECONDS_PER_BIT,
    chains,
    watch_near_queries,
)
from hashscan.hub.intake.servers import raise_silence
from hashscan.hub.storage.database import Database
from hashscan.hub.storage.tables import CHECKS, NEAR_QUERIES
from hashscan.model import Entry
from hashscan.settings.cases_and_alerts import AlertSettings
from hashscan.state_dir import StateDir
from tests.examples import quick_first
from tests.hub.serving import Node, new_key, node
from tests.hub.web.test_check_routes import asked
from tests.pictures import scene
from tests.service.engine.serving import store_list

BITS = 256
NOW = 1_800_000_000


def drawn(picture: Image.Image) -> bytes:
    return PDQ().digest(np.asarray(picture.convert("L"), dtype=np.uint8))[0]


def copies(number: int, seed: int = 1) -> Iterator[bytes]:
    """The PDQs of one picture in many sizes, qualities and sections, as thumbnails and frames are."""
    rng, whole = random.Random(seed), scene(seed).convert("RGB").resize((400, 300))
    for _ in range(number):
        cut = [int(side * rng.uniform(0, 0.02)) for side in (400, 300, 400, 300)]
        one = whole.crop((cut[0], cut[1], 400 - cut[2], 300 - cut[3]))
        share = rng.uniform(0.2, 1)
        one = one.resize((int(one.width * share), int(one.height * share)), rng.choice([0, 2, 3]))
        one = ImageEnhance.Brightness(one).enhance(rng.uniform(0.8, 1.2))
        packed = BytesIO()
        one.save(packed, "JPEG", quality=rng.randint(15, 95))
        yield drawn(Image.open(packed))


def number_of(digest: bytes) -> int:
    return int.from_bytes(digest, "big")


def flipped(digest: bytes, *bits: int) -> bytes:
    return (number_of(digest) ^ sum(1 << bit for bit in bits)).to_bytes(32, "big")


def recover(is_listed: Callable[[bytes], bool], start: bytes, step: int = 1) -> bytes:
    """Recover the entry that a digest matches, from yes and no alone; with a step, some bits of it."""
    assert is_listed(start)
    outside = start
    for bit in random.Random(3).sample(range(BITS), BITS):
        outside = flipped(outside, bit)
        if not is_listed(outside):
            break
    # One bit too far: it is listed again if one more wrong bit is put right.
    wrong = [bit for bit in range(0, BITS, step) if is_listed(flipped(outside, bit))]
    return flipped(outside, *wrong)


@pytest.fixture
def site(database: Database, hub_state: StateDir) -> Iterator[Node]:
    listed = drawn(scene(1).resize((400, 300)))
    entries = [Entry(f"other-{n}", ALGORITHM, random.Random(n).randbytes(32), "A1") for n in range(30)]
    store_list(hub_state.path, Entry("p0", ALGORITHM, listed, "A1"), *entries)
    with node(database, hub_state) as running:
        yield running


@pytest.fixture
def listed() -> bytes:
    return drawn(scene(1).resize((400, 300)))


def similar(listed: bytes) -> bytes:
    """A digest that a picture may have, within the threshold of the entry."""
    rng, number = random.Random(5), number_of(listed)
    ones = [bit for bit in range(BITS) if number >> bit & 1]
    zeros = [bit for bit in range(BITS) if not number >> bit & 1]
    return flipped(listed, *rng.sample(ones, 6), *rng.sample(zeros, 6))


def asker(site: Node, keys: list[str], noise: int = 0) -> tuple[Callable[[bytes], bool], list[int]]:
    """A function that asks a node by several keys in turn, and the number of digests before each notice."""
    asked_before, noticed = 0, []
    rng = random.Random(99)  # none of the entries

    def is_listed(digest: bytes) -> bool:
        others = [(ALGORITHM, rng.randbytes(32)) for _ in range(noise)]
        nonlocal asked_before
        answer = site.ask(
            "POST", "/v1/check", asked((ALGORITHM, digest), *others), keys[asked_before % len(keys)]
        )
        asked_before += 1
        assert answer.status == 200
        if not noticed:
            with site.database.reading() as connection:
                noticed.extend([asked_before] * bool(chains(connection)))
        return 0 in {match["digest"] for match in answer.document["matches"]}

    return is_listed, noticed


def test_an_entry_is_recovered_by_some_400_answers(site: Node, listed: bytes) -> None:
    """As if nothing watched: this is why something has to."""
    questions = 0

    def is_listed(digest: bytes) -> bool:
        nonlocal questions
        questions += 1
        return bool(site.context.lookup.match({ALGORITHM: digest})[1][ALGORITHM])

    assert recover(is_listed, similar(listed)) == listed
    assert questions < 400


@pytest.mark.parametrize(("keys", "noise"), quick_first([(1, 0), (3, 0), (1, 200)]))
def test_a_recovery_is_noticed_and_slowed(site: Node, listed: bytes, keys: int, noise: int) -> None:
    names = [f"k{number}" for number in range(keys)]
    secrets = [new_key(site.database, name=name, detail="answer") for name in names]
    is_listed, noticed = asker(site, secrets, noise)
    recovered = recover(is_listed, similar(listed), 3)
    # All that is close is answered in the same way from then on.
    assert (number_of(recovered) ^ number_of(listed)).bit_count() > 60
    assert noticed[0] <= 32
    with site.database.reading() as connection:
        (chain,) = chains(connection)
    assert (chain.organisation_name, chain.entry) == ("alpha", "p0")
    lines = [line for line, _ in read_audit(site.database) if line["action"] == "check.near_queries"]
    assert [(line["organisation"], line["entry"]) for line in lines] == [(None, "p0")]
    # All else is answered, as is what was answered before; and other organisations are.
    assert is_listed(similar(listed))
    assert not is_listed(bytes(32))
    other = site.ask("POST", "/v1/check", asked((ALGORITHM, listed)), new_key(site.database, "beta"))
    assert [match["entry"] for match in other.document["matches"]] == ["p0"]


def test_a_recovery_in_one_request_has_one_answer(site: Node, listed: bytes) -> None:
    key = new_key(site.database)
    base = similar(listed)
    close = [(ALGORITHM, flipped(base, bit)) for bit in range(BITS)]
    for _ in range(2):
        answer = site.ask("POST", "/v1/check", asked(*close, (ALGORITHM, bytes(32))), key)
        found = [(m["digest"], m["entry"], m["category"], m["distance"]) for m in answer.document["matches"]]
        assert found == [(place, "*", "listed", 0) for place in range(BITS)]
    with site.database.reading() as connection:
        assert connection.execute(select(func.sum(CHECKS.c.detected))).scalar() == 0


def ask_near(site: Node, *digests: bytes, now: int = NOW, organisation: str = "alpha") -> set[int]:
    """Ask as `check` does, at some time; the indices of digests whose answer is withheld."""
    with site.database.reading() as connection:
        key = key_named(connection, organisation, "k")
    values = b"".join(digests)
    found = site.context.lookup.match({ALGORITHM: values})[1][ALGORITHM]
    return set(watch_near_queries(site.database, key, values, found, now))


def withheld_after(site: Node, digests: list[bytes]) -> int:
    """Return the number of digests, each in a request of its own, before the first without an answer."""
    return next(place for place, digest in enumerate(digests) if ask_near(site, digest))


def test_digests_as_of_pictures_are_noticed_later(site: Node, listed: bytes) -> None:
    """Swapping two bits keeps the number of ones that a picture's digest has."""
    new_key(site.database)
    rng, base = random.Random(2), similar(listed)
    number = number_of(base)
    ones = [bit for bit in range(BITS) if number >> bit & 1]
    zeros = [bit for bit in range(BITS) if not number >> bit & 1]
    rng.shuffle(ones)
    rng.shuffle(zeros)
    ask_near(site, base)
    assert 0 < withheld_after(site, [flipped(base, *pair) for pair in zip(ones, zeros, strict=True)]) < 80


def test_further_bits_are_answered_as_time_passes(site: Node, listed: bytes) -> None:
    new_key(site.database)
    base = similar(listed)
    bit = withheld_after(site, [flipped(base, bit) for bit in range(BITS)])
    assert 0 < bit <= IMPOSSIBLE_MAX
    assert ask_near(site, flipped(base, bit), now=NOW + SECONDS_PER_BIT - 1) == {0}
    assert ask_near(site, flipped(base, bit), now=NOW + SECONDS_PER_BIT) == set()
    assert ask_near(site, base, flipped(base, bit + 1), now=NOW + SECONDS_PER_BIT) == {1}
    rest = [flipped(base, each) for each in range(bit + 1, BITS)]
    assert ask_near(site, *rest, now=NOW + BITS * SECONDS_PER_BIT) == set()


def test_copies_of_a_listed_picture_are_no_recovery(site: Node, listed: bytes) -> None:
    new_key(site.database)
    digests = list(copies(300))
    matching = [digest for digest in digests if (number_of(digest) ^ number_of(listed)).bit_count() <= 31]
    assert len(matching) > 150
    for _ in range(2):
        for start in range(0, len(digests), 50):
            assert not ask_near(site, *digests[start : start + 50])
    with site.database.reading() as connection:
        assert chains(connection) == []
        assert connection.execute(select(func.count()).select_from(NEAR_QUERIES)).scalar() == 1


def test_the_operator_is_alerted_once(site: Node, listed: bytes, hub_state: StateDir) -> None:
    new_key(site.database)
    base = similar(listed)
    assert ask_near(site, *[flipped(base, bit) for bit in range(BITS)])
    with site.database.reading() as connection:
        assert chains(connection)[0].alerted is None
    received = hub_state.path / "received"
    channel = AlertSettings(hooks=(("/bin/sh", "-c", f"cat >> {received}"),))
    for _ in range(2):
        raise_silence(site.database, hub_state, channel, NOW)
    assert re.findall(r'"kind": ?"(\w+)"', received.read_text()) == ["probed"]


def test_no_evidence_is_replaced_by_that_about_other_entries(site: Node, listed: bytes) -> None:
    """A client that asks about two bits of many other entries first is noticed as early."""
    new_key(site.database)
    base = similar(listed)
    for number, bit in product(range(20), range(2)):
        ask_near(site, flipped(random.Random(number).randbytes(32), bit))
    assert sum(len(ask_near(site, flipped(base, bit))) for bit in range(60)) > 60 - IMPOSSIBLE_MAX
    with site.database.reading() as connection:
        assert 0 < len(chains(connection)) <= 16


def test_what_is_kept_is_bounded(site: Node, listed: bytes) -> None:
    new_key(site.database)
    base = similar(listed)
    assert ask_near(site, *[flipped(base, bit) for bit in range(BITS)])
    for number in range(30):
        ask_near(site, random.Random(number).randbytes(32)[:-1] + b"x", now=NOW - 1)
        rng = random.Random(number)
        entry = rng.randbytes(32)
        ask_near(site, *[flipped(entry, *rng.sample(range(BITS), 14)) for _ in range(40)], now=NOW - 1)
    with site.database.reading() as connection:
        rows = connection.execute(select(NEAR_QUERIES)).all()
        assert len(rows) <= 16
        assert max(len(row.anchors) for row in rows) <= 16 * 32
        # Of chains, the oldest are replaced first.
        assert "p0" in {row.entry for row in chains(connection)}
