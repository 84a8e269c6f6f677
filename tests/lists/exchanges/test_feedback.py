"""Feedback to exchanges on loopback, by the real library; the outbox is that of a real state folder."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest

from hashscan.lists.exchanges import pulling
from hashscan.lists.feedback import Feedback, made_feedback, read_feedback, store_feedback
from hashscan.lists.store import ListStore
from hashscan.matching.remote.feedback import feedback_identity, send_feedback
from hashscan.registry import EXCHANGES
from hashscan.state_dir import StateDir
from tests.lists.exchanges.servers import (
    FEEDBACK_KEY,
    FUNCTION_KEY,
    SUBSCRIPTION_KEY,
    AllServed,
    Hash,
    Media,
    all_served,
    body_of,
)
from tests.lists.exchanges.test_pulling import entries
from tests.waiting import until
from tests.web import refuse

pytest.importorskip("threatexchange", reason="of the extra exchange")

SECRET = "kunde-mueller"
PDQ = "0f" * 32


@pytest.fixture
def served(tmp_path: Path) -> Iterator[AllServed]:
    with all_served(tmp_path / "exchange") as served:
        now = int(time.time()) - 7200
        served.ncmec.put(
            Media(42, "a", now, {"pdq": PDQ, "md5": "ab" * 16, "netclean": "x"}),
            Media(42, "odd/../id", now, {"md5": "cd" * 16}),
            Media(42, "long" * 30, now, {"sha1": "cd" * 20}),
        )
        served.stopncii.put(Hash(PDQ, now))
        yield served


@pytest.fixture
def state(tmp_path: Path, store: ListStore, served: AllServed) -> StateDir:
    """Both lists, pulled."""
    served.credentials["stopncii"].write_text(f"{FUNCTION_KEY},{SUBSCRIPTION_KEY},{FEEDBACK_KEY}")
    for name, credentials in (
        ("ncmec", served.credentials["ncmec"]),
        ("stopncii", served.credentials["stopncii"]),
    ):
        environment = "Industry" if name == "ncmec" else None
        source = pulling.checked_source(
            EXCHANGES, name, environment, credentials, proxy=served.proxy, ca_file=served.ca_file
        )
        pulling.add(store, name, source)
        pulling.pull(store, name, EXCHANGES)
    return StateDir(tmp_path / "state")


def give(
    state: StateDir, entry: str, *, wrong: bool = True, reason: str = "Not CSAM", name: str = "ncmec"
) -> None:
    identity = feedback_identity(ListStore(state.lists), name)
    made = made_feedback(
        name, identity, entry, wrong=wrong, reason=reason, hoster=SECRET, since="2026-01-01T00:00:00Z"
    )
    store_feedback(state, made)


def sent(state: StateDir, *, refused: bool = False) -> dict[str, str]:
    """The problem of each entry; empty for those that were taken."""
    return {reply.feedback.entry_id: reply.problem for reply in send_feedback(state, refused=refused)}


def waiting(state: StateDir) -> list[Feedback]:
    return list(read_feedback(state))


def test_ncmec_gets_a_vote_on_the_fingerprint_with_its_own_reason(state: StateDir, served: AllServed) -> None:
    give(state, "42/a:pdq")
    give(state, "42/a:md5", wrong=False, reason="seen")
    give(state, "42/odd/../id:md5", reason="guid-2")
    assert set(sent(state).values()) == {""}
    assert not waiting(state)
    votes = dict(served.ncmec.votes)
    place = "/hashsharing/v2/entries/42"
    assert votes.keys() == {
        f"{place}/a/PDQ/feedback", f"{place}/a/MD5/feedback", f"{place}/odd%2F..%2Fid/MD5/feedback"
    }  # fmt: skip
    assert b"<guid>guid-1</guid>" in votes[f"{place}/a/PDQ/feedback"]
    assert b"<affirmative" in votes[f"{place}/a/MD5/feedback"]
    assert b"guid" not in votes[f"{place}/a/MD5/feedback"]
    assert b"<guid>guid-2</guid>" in votes[f"{place}/odd%2F..%2Fid/MD5/feedback"]


def test_an_id_that_stands_for_a_long_key_is_found(
    state: StateDir, served: AllServed, store: ListStore
) -> None:
    (entry,) = [entry for entry in entries(store) if entry.endswith(":sha1")]
    assert not entry.startswith("42/long")
    give(state, entry)
    assert sent(state) == {entry: ""}
    assert served.ncmec.votes[0][0].endswith(f"/{'long' * 30}/SHA1/feedback")


def test_a_reason_that_ncmec_does_not_have_is_not_sent(state: StateDir, served: AllServed) -> None:
    give(state, "42/a:pdq", reason="it is a logo")
    (problem,) = sent(state).values()
    assert "Not CSAM" in problem
    assert [feedback.refused for feedback in waiting(state)] == [True]
    requests = len(served.ncmec.asked)
    assert sent(state) == {}, "it is not sent again unasked"
    assert len(served.ncmec.asked) == requests
    served.ncmec.reasons = {"guid-9": "The only one"}
    assert sent(state, refused=True) == {"42/a:pdq": ""}
    assert b"<guid>guid-9</guid>" in served.ncmec.votes[0][1]


def test_stopncii_gets_the_state_of_the_hash(state: StateDir, served: AllServed, store: ListStore) -> None:
    (entry,) = entries(store, "stopncii")
    for wrong, expected in ((True, "NotBlocked"), (False, "Blocked")):
        give(state, entry, wrong=wrong, name="stopncii")
        assert sent(state) == {entry: ""}
        (vote,) = json.loads(served.stopncii.votes[-1])["hashFeedbacks"]
        assert vote == {"tags": [], "feedbackValue": expected, "hashValue": PDQ}


def test_without_a_key_for_feedback_stopncii_is_not_asked(
    state: StateDir, served: AllServed, store: ListStore
) -> None:
    served.credentials["stopncii"].write_text(f"{FUNCTION_KEY},{SUBSCRIPTION_KEY}")
    (entry,) = entries(store, "stopncii")
    give(state, entry, name="stopncii")
    assert sent(state)[entry]
    assert [feedback.refused for feedback in waiting(state)] == [False]
    assert not served.stopncii.votes


@pytest.mark.parametrize("status", [401, 403, 429, 500, 503])
def test_all_waits_while_the_exchange_takes_nothing(state: StateDir, served: AllServed, status: int) -> None:
    def fault(request: BaseHTTPRequestHandler, path: str) -> bool:
        refuse(request, status)
        return True

    served.ncmec.fault = fault
    give(state, "42/a:pdq", wrong=False)
    give(state, "42/a:md5", wrong=False)
    assert all(sent(state).values())
    assert [(feedback.refused, bool(feedback.problem)) for feedback in waiting(state)] == [(False, True)] * 2
    served.ncmec.fault = None
    assert set(sent(state).values()) == {""}
    assert len(served.ncmec.votes) == 2
    assert not waiting(state)


@pytest.mark.parametrize("status", [400, 404, 409, 422])
def test_one_that_is_refused_holds_up_no_other(state: StateDir, served: AllServed, status: int) -> None:
    def fault(request: BaseHTTPRequestHandler, path: str) -> bool:
        if "/a/MD5/" not in path:
            return False
        body_of(request)
        refuse(request, status)
        return True

    served.ncmec.fault = fault
    give(state, "42/a:md5", wrong=False)
    give(state, "42/a:pdq", wrong=False)
    assert [entry for entry, problem in sent(state).items() if problem] == ["42/a:md5"]
    assert [(feedback.entry_id, feedback.refused) for feedback in waiting(state)] == [("42/a:md5", True)]


def test_an_entry_that_was_withdrawn_meanwhile_needs_no_feedback(
    state: StateDir, served: AllServed, store: ListStore
) -> None:
    give(state, "42/a:pdq")
    served.ncmec.put(Media(42, "a", int(time.time()) - 1800, deleted=True))
    pulling.pull(store, "ncmec", EXCHANGES)
    assert sent(state)["42/a:pdq"]
    assert not waiting(state)
    assert not served.ncmec.votes


def test_nothing_goes_to_another_list_that_got_the_name(
    state: StateDir, served: AllServed, store: ListStore
) -> None:
    give(state, "42/a:pdq")
    store.remove("ncmec")
    source = pulling.checked_source(
        EXCHANGES,
        "stopncii",
        None,
        served.credentials["stopncii"],
        proxy=served.proxy,
        ca_file=served.ca_file,
    )
    pulling.add(store, "ncmec", source)
    pulling.pull(store, "ncmec", EXCHANGES)
    asked = len(served.stopncii.asked)
    assert sent(state)["42/a:pdq"]
    assert not waiting(state)
    assert len(served.stopncii.asked) == asked
    assert not served.ncmec.votes + served.stopncii.votes


SENDER = """
import sys
from hashscan.matching.remote.feedback import send_feedback
from hashscan.state_dir import StateDir
for reply in send_feedback(StateDir(sys.argv[1])):
    print(reply.problem, flush=True)
"""


def test_a_sender_that_is_killed_loses_nothing(state: StateDir, served: AllServed) -> None:
    reached, go_on = threading.Event(), threading.Event()

    def hold(request: BaseHTTPRequestHandler, path: str) -> bool:
        if request.command == "PUT" and "/a/PDQ/" in path:
            reached.set()
            go_on.wait(60)
        return False

    for entry in ("42/a:md5", "42/a:pdq", "42/odd/../id:md5"):
        give(state, entry, wrong=False)
    served.ncmec.fault = hold
    sender = subprocess.Popen([sys.executable, "-c", SENDER, state.path], stdout=subprocess.PIPE)
    try:
        assert reached.wait(60)
        # The first one is taken; the second may be asked about before that is recorded.
        until(lambda: len(waiting(state)) == 2)
        (child,) = children(sender.pid)
    finally:
        sender.kill()
        sender.communicate()
    go_on.set()
    until(lambda: not Path(f"/proc/{child}").exists())
    served.ncmec.fault = None
    assert sent(state) == {"42/a:pdq": "", "42/odd/../id:md5": ""}
    assert not waiting(state)
    assert len({path for path, _ in served.ncmec.votes}) == 3


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def test_nothing_leaves_but_the_entry_and_the_opinion(
    state: StateDir, served: AllServed, store: ListStore
) -> None:
    (entry,) = entries(store, "stopncii")
    give(state, entry, name="stopncii", reason=f"a picture of {SECRET}")
    give(state, "42/a:pdq", reason="too dark")
    before = len(served.ncmec.asked)
    assert set(sent(state).values()) == {""}
    assert served.ncmec.asked[before:] == [
        "/hashsharing/v2/feedback/PDQ/reasons",
        "/hashsharing/v2/entries/42/a/PDQ/feedback",
    ]
    (_, vote), (other,) = served.ncmec.votes[0], served.stopncii.votes
    assert vote == (
        b'<feedbackSubmission xmlns="https://hashsharing.ncmec.org/hashsharing/v2"><negative><reasonIds>'
        b"<guid>guid-2</guid></reasonIds></negative></feedbackSubmission>"
    )
    assert json.loads(other) == {
        "count": 1,
        "hashFeedbacks": [{"tags": [], "feedbackValue": "NotBlocked", "hashValue": PDQ}],
    }


def test_no_digest_is_in_the_outbox(state: StateDir, served: AllServed) -> None:
    give(state, "42/a:pdq")
    (outbox,) = state.feedback.glob("*.json")
    assert PDQ.encode() not in outbox.read_bytes()
    assert outbox.stat().st_mode & 0o777 == 0o600
