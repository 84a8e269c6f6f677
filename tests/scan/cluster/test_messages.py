"""Messages of scan and nodes arrive as they were, and nothing else is taken for one."""

from __future__ import annotations

from dataclasses import replace

import pytest

from hashscan.matching.policy import Policy, RestoredContent
from hashscan.matching.worker_setup import WorkerSetup
from hashscan.model import Action, ExceptedEntry, PolicyRule, Weak
from hashscan.sandbox.client import SandboxOptions
from hashscan.scan.cluster.messages import (
    AnswerError,
    Busy,
    Job,
    Ready,
    Refused,
    WantedList,
    pack_greeting,
    unpack_greeting,
    unpack_job,
    version_of,
    with_lists,
)

EXCEPTED = ExceptedEntry("ours", "e-1", "md5", "A1", "f", "a theme", "2027-01-31T00:00:00Z", "root", "2026")


def test_greetings_arrive_as_they_were() -> None:
    for greeting in (Ready("n", "h", "1", "p"), Busy("h"), Refused("h", "why")):
        assert unpack_greeting(pack_greeting(greeting)) == greeting


def test_a_job_arrives_as_it_was() -> None:
    setup = WorkerSetup(
        lists=(),
        sandbox=SandboxOptions("required", 1 << 28, 3.5),
        algorithms=("md5", "pdq"),
        max_pixels=5,
        excepted=(EXCEPTED,),
        policy=Policy(
            (PolicyRule(1, Action.HELD, "why", ("A1",), ("pdq",), 12, ("ours",), ("/a/",), (0,)),),
            (Weak.TEST,),
            {"ours": Weak.LOCAL},
            {bytes(32): RestoredContent("2027-01-31", "root", frozenset({("ours", "e-1")}))},
        ),
        variants=("turned",),
        review_threshold=52,
        with_digests=True,
    )
    job = Job("0.1.0", (WantedList("ours", 3, True, "ab"),), setup)
    arrived = unpack_job(job.to_bytes())
    assert arrived == job
    assert version_of(job.to_bytes()) == "0.1.0"
    assert with_lists(arrived, ()) == setup
    # A decoder is code, and each node has its own.
    assert unpack_job(replace(job, setup=replace(setup, decoder="os:system")).to_bytes()) == job


@pytest.mark.parametrize(
    "data",
    [
        Ready("n", "h", "1", "p"),
        None,
        b"",
        b"\x80\x04K\x01.",
        b"[]",
        b"[" * 100_000,
        b'{"kind":"results"}',
        b'{"kind":"ready"}',
    ],
)
def test_what_is_no_answer_is_refused(data: object) -> None:
    with pytest.raises(AnswerError):
        unpack_greeting(data)
