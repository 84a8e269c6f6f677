"""Tests of sandbox.confine."""

from __future__ import annotations

import errno
import os
import tempfile
from typing import Any

import pytest

from hashscan.sandbox import confine
from hashscan.sandbox.linux_process import prctl
from tests.sandbox.attempts import ATTEMPTS
from tests.sandbox.runner import drive

REFUSED_BY_LANDLOCK = (
    "open to read",
    "open to write",
    "open the environment",
    "open a device",
    "list a folder",
    "connect to the network",
    "connect to an abstract name",
    "signal its parent",
    "signal a thread of its parent",
)

REFUSED_IN_ANY_MODE = ("read the environment",)

DONE_WHEN_OFF = (
    *("open to read", "open to write", "remove", "stat a path", "list a folder"),
    *("connect to the network", "connect to an abstract name", "make a pipe", "make a memory file"),
    *("signal its parent", "signal a thread of its parent", "hold its parent by pidfd"),
    *("map executable memory", "make memory executable", "map the file", "duplicate the file"),
    *("change the file's flags", "become dumpable", "outlive its parent", "change its affinity"),
)
"""Proof that the attempts work where nothing stops them."""

DONE_WHEN_OFF_AS_ROOT = (
    *("fork", "clone", "clone3", "start a thread", "become root", "chroot", "open the environment"),
)


def refused(outcome: list[Any]) -> bool:
    """Refused with an errno, or ended for it."""
    kind, *rest = outcome
    if kind == "lost":
        return rest == ["decoder died", "signal SIGSYS, a forbidden system call"]
    done, error, _ = rest
    return not done and error != 0


@pytest.fixture(scope="module", params=["self", "nobody"])
def user(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture(scope="module")
def confined(user: str) -> dict[str, Any]:
    return drive({"mode": "required", "names": list(ATTEMPTS)}, user)


def test_every_attempt_was_made(confined: dict[str, Any]) -> None:
    assert list(confined["outcomes"]) == list(ATTEMPTS)
    assert confined["word"] == "full"


@pytest.mark.parametrize("name", ATTEMPTS)
def test_attempt_is_refused(confined: dict[str, Any], name: str) -> None:
    assert refused(confined["outcomes"][name]), confined["outcomes"][name]


def test_kernel_agrees(confined: dict[str, Any], user: str) -> None:
    status = confined["status"]
    assert status["NoNewPrivs"] == "1"
    assert status["Seccomp"] == "2"
    for kind in ("CapInh", "CapPrm", "CapEff", "CapAmb"):
        assert int(status[kind], 16) == 0, kind
    assert confined["uid_dropped"] == (user == "self" and os.geteuid() == 0)
    if confined["uid_dropped"]:
        for kind in ("Uid", "Gid"):
            assert status[kind].split() == ["65534"] * 4, kind
        assert status["Groups"].split() == []
        assert int(status["CapBnd"], 16) == 0


def test_not_dumpable(confined: dict[str, Any]) -> None:
    """Such a process's files in /proc belong to root, whatever its own user (proc(5))."""
    assert confined["status_owner"] == 0


def test_supplementary_groups_are_dropped() -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can add groups, and drop them")
    status = drive({"mode": "required", "names": []}, extra_groups=[4242, 4243])["status"]
    assert status["Groups"].split() == []


def test_attempts_succeed_where_nothing_stops_them(user: str) -> None:
    names: tuple[str, ...] = DONE_WHEN_OFF
    if user == "self" and os.geteuid() == 0:
        names += DONE_WHEN_OFF_AS_ROOT
    answer = drive({"mode": "off", "names": names}, user)
    assert answer["word"] == "off"
    assert [name for name, outcome in answer["outcomes"].items() if outcome[:2] != ["replied", 1]] == []
    assert len(answer["outcomes"]) == len(names)


@pytest.mark.parametrize("name", REFUSED_IN_ANY_MODE)
def test_environment_is_empty_whatever_the_mode(name: str) -> None:
    assert drive({"mode": "off", "names": [name]})["outcomes"][name] == ["replied", 0, errno.ENOENT, 0]


def test_landlock_alone(user: str) -> None:
    answer = drive(
        {"mode": "auto", "names": REFUSED_BY_LANDLOCK, "library": "libmissing.so.9"},
        user,
    )
    assert answer["word"] == "partial"
    assert not answer["seccomp"]
    assert answer["capabilities_dropped"]
    assert answer["limits"]
    if answer["landlock"] < 6:
        pytest.skip("this kernel's Landlock knows neither abstract sockets nor signals")
    for name in REFUSED_BY_LANDLOCK:
        assert answer["outcomes"][name][:2] == ["replied", 0], name
        assert answer["outcomes"][name][2] in {errno.EACCES, errno.EPERM}, name


def test_seccomp_alone(user: str) -> None:
    answer = drive({"mode": "auto", "names": list(ATTEMPTS), "without_landlock": True}, user)
    assert answer["word"] == "partial"
    assert answer["landlock"] == 0
    assert answer["seccomp"]
    assert [name for name, outcome in answer["outcomes"].items() if not refused(outcome)] == []


@pytest.mark.parametrize(
    ("lacking", "word"),
    [({"library": "libmissing.so.9"}, "seccomp"), ({"without_landlock": True}, "Landlock")],
)
def test_required_says_what_is_lacking(lacking: dict[str, Any], word: str) -> None:
    answer = drive({"mode": "required", "names": ["pid"], **lacking})
    assert answer["error"] == "SandboxError"
    assert "lacks: " in answer["message"]
    assert word in answer["message"]


@pytest.fixture(scope="module")
def rights() -> confine.LandlockRights:
    try:
        return confine.supported_landlock_rights()
    except OSError as error:
        pytest.skip(f"this kernel has no Landlock: {error}")


def test_everything_documented_for_the_version_is_found(rights: confine.LandlockRights) -> None:
    # linux/landlock.h: rights were added by versions 2, 3 and 5; network by 4; scopes by 6.
    files = 13 + (rights.version >= 2) + (rights.version >= 3) + (rights.version >= 5)
    assert rights.filesystem & ((1 << files) - 1) == (1 << files) - 1
    assert rights.network & 3 == (3 if rights.version >= 4 else 0)
    assert rights.scopes & 3 == (3 if rights.version >= 6 else 0)


def test_files_are_out_of_reach(rights: confine.LandlockRights) -> None:
    """In a forked child, since there is no way back."""
    with tempfile.NamedTemporaryFile() as file:
        child = os.fork()
        if child == 0:
            prctl(38, 1)
            confine.restrict_with_landlock(rights)
            status = 1
            try:
                os.open(file.name, os.O_RDONLY)
            except OSError as error:
                # What is open already stays of use.
                readable = os.pread(file.fileno(), 1, 0) == b""
                status = 0 if error.errno == errno.EACCES and readable else 2
            os._exit(status)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_no_descriptor_is_left(rights: confine.LandlockRights) -> None:
    before = os.listdir("/proc/self/fd")
    confine.supported_landlock_rights()
    assert os.listdir("/proc/self/fd") == before
