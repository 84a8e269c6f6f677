"""Privileges: a command that root starts continues as the owner of its state or working folder.

Root must leave no files there that the owner can't read, and must not follow symlinks that the owner made.
Commands that read files of all users keep the right to, if the owner is the service user: its timer starts
them with this right, too.
"""

from __future__ import annotations

import logging
import os
import pwd
import stat
from collections.abc import Iterable, Iterator
from contextlib import suppress
from enum import Enum
from pathlib import Path

from hashscan.cli.output.logs import print_message
from hashscan.errors import OutputError, UsageError
from hashscan.process import explain_missing_rights
from hashscan.sandbox.linux_process import become_with_capabilities, capabilities
from hashscan.state_dir import SYSTEM_STATE, service_uid

_LINKS_MAX = 40
_CAP_DAC_READ_SEARCH, _CAP_LEASE = 2, 28
_READING = (_CAP_DAC_READ_SEARCH, _CAP_LEASE)
"""The capabilities of the unit that scans."""
_OPTIONS_FOR_READING = " --inh-caps=+dac_read_search,+lease --ambient-caps=+dac_read_search,+lease"


class RootRights(Enum):
    """Root's rights that a command needs in addition to those of the state folder's owner."""

    NOTHING = "nothing"
    """None: the command continues as the owner."""
    FILES = "files"
    """Read files that the command line names, also in root's home: the command continues as the owner, and
    the service user keeps the right to read all files, unless root itself lacks it."""
    READING = "reading"
    """Read files of all users: the command continues as the service user, with this right; in a folder of
    another user, root is refused, with advice how to run the command with this right alone."""
    CHANGING = "changing"
    """Move files of all users: root is refused, since only a state folder of root's may say which files."""


def become_folder_owner(command: str, state: Path, needs: RootRights, kind: str = "state folder") -> None:
    """Continue as the owner of a folder, or refuse to, before anything in the folder is opened.

    The folder need not exist yet. `command` is the command as it was called.
    """
    if os.geteuid() != 0:
        _require_access(command, state, kind)
        return
    service = service_uid()
    if state == SYSTEM_STATE and service:
        _make_for_service(service)
    owner = controlling_uid(state)
    if owner == 0:
        return
    name = _name_of(owner)
    keeps = _kept_by_service(needs) if owner == service else ()
    if needs in (RootRights.READING, RootRights.CHANGING) and not keeps:
        raise UsageError(
            f"the {kind} {state} is controlled by {name}, so root must not use it for `{command}`",
            advice=_advice(command, owner, needs),
        )
    try:
        _become(owner, state, keeps)
    except OSError as error:
        raise UsageError(
            f"the {kind} {state} is controlled by {name}, and this process can't become that "
            f"user: {error.strerror}",
            advice=f"Run `{_as_user(owner)}{_OPTIONS_FOR_READING if keeps else ''} -- {command} ...`, "
            "or name a folder of root's.",
        ) from error
    for folder in (os.path.dirname(os.__file__), os.path.dirname(__file__)):
        if not os.access(folder, os.R_OK | os.X_OK, effective_ids=True):
            raise UsageError(
                f"{name}, who controls the {kind} {state}, can't read the installation in {folder}",
                advice="Install hashscan where all users can read it, such as in /opt/hashscan.",
            )
    if needs is RootRights.NOTHING and not os.access(".", os.X_OK, effective_ids=True):
        # Processes are started in the current folder, which this user can't enter.
        os.chdir("/")
    print_message(f"continues as {name}, who controls the {kind} {state}", logging.INFO)
    explain_missing_rights(
        f"This command continues as {name}: name a place that this user may use, such as in {state}."
    )


def _kept_by_service(needs: RootRights) -> tuple[int, ...]:
    """Return the capabilities of root's that a command keeps as the service user."""
    if needs is RootRights.READING:
        return _READING
    can_read = needs is RootRights.FILES and capabilities()[1] >> _CAP_DAC_READ_SEARCH & 1
    return (_CAP_DAC_READ_SEARCH,) if can_read else ()


def controlling_uid(path: Path) -> int:
    """Return the uid of the user who controls what lies at a path.

    It is the owner of the first folder or symlink on the path that does not belong to root. Root creates what
    is missing, so the result is 0 then. Users that don't exist in this user namespace are ignored.
    """
    owners = (status.st_uid for _, status in path_steps(path))
    return next((uid for uid in owners if uid != 0 and _is_mapped(uid)), 0)


def path_steps(path: Path) -> Iterator[tuple[str, os.stat_result]]:
    """Yield each folder, symlink and file that a path leads through, with its status.

    It ends at what is missing or can't be used; the code that opens the path reports that.
    """
    todo = os.path.join(os.getcwd(), path).split("/")[::-1]
    here, links = "/", 0
    while todo:
        part = todo.pop()
        if part == "..":
            here = os.path.dirname(here)
        if part in ("", ".", ".."):
            continue
        there = os.path.join(here, part)
        try:
            status = os.lstat(there)
        except OSError:
            return
        yield there, status
        if not stat.S_ISLNK(status.st_mode):
            here = there
            continue
        links += 1
        if links > _LINKS_MAX:
            return
        target = os.readlink(there)
        here = "/" if target.startswith("/") else here
        todo += target.split("/")[::-1]


def _is_mapped(uid: int) -> bool:
    """Return True if a user exists in this user namespace; the kernel shows all others as one user."""
    try:
        with open("/proc/self/uid_map", encoding="ascii") as file:
            ranges = [tuple(map(int, line.split())) for line in file]
    except OSError:
        return True
    return any(first <= uid < first + count for first, _, count in ranges)


def _make_for_service(uid: int) -> None:
    """Give the state folder to the service user if it is missing, or root's and empty (a killed command).

    Nobody but root can change the folders on its path.
    """
    with suppress(FileExistsError):
        SYSTEM_STATE.mkdir(mode=0o700)
    status = SYSTEM_STATE.lstat()
    if stat.S_ISDIR(status.st_mode) and status.st_uid == 0 and not os.listdir(SYSTEM_STATE):
        os.chown(SYSTEM_STATE, uid, pwd.getpwuid(uid).pw_gid, follow_symlinks=False)


def _become(uid: int, state: Path, keeps: Iterable[int]) -> None:
    """Change to another user for good, and drop root's rights and groups, except for some capabilities."""
    try:
        user = pwd.getpwuid(uid)
    except KeyError:
        there = next(folder for folder in (state, *state.absolute().parents) if folder.exists())
        group = there.stat().st_gid
        groups = [group]
    else:
        group = user.pw_gid
        groups = os.getgrouplist(user.pw_name, group)
        os.environ.update(HOME=user.pw_dir, USER=user.pw_name, LOGNAME=user.pw_name)
    os.setgroups(groups)
    os.setresgid(group, group, group)
    if keeps:
        # Containers often lack the second one; the scan then says what it can't prove.
        had = capabilities()[1]
        become_with_capabilities(uid, [one for one in keeps if one != _CAP_LEASE or had >> one & 1])
    else:
        os.setresuid(uid, uid, uid)


def _name_of(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"uid {uid}"


def _advice(command: str, owner: int, needs: RootRights) -> str:
    if needs is RootRights.CHANGING:
        return "Name a --state folder that root made, such as /var/lib/hashscan-quarantine."
    return (
        "Run it as that user, with the right to read all files: "
        f"`{_as_user(owner)}{_OPTIONS_FOR_READING} -- {command} ...`; "
        "or name a --state folder of root's."
    )


def _as_user(uid: int) -> str:
    """Return the command prefix that runs a command as a user, who need not have a name."""
    try:
        group, others = pwd.getpwuid(uid).pw_gid, "--init-groups"
    except KeyError:
        group, others = uid, "--clear-groups"
    return f"setpriv --reuid={uid} --regid={group} {others}"


def _require_access(command: str, state: Path, kind: str) -> None:
    """Raise `OutputError` for a folder that exists, but that this user may not open."""
    try:
        status = state.stat()
    except PermissionError:
        who = "another user"
    except OSError:
        return
    else:
        if os.access(state, os.R_OK | os.X_OK, effective_ids=True):
            return
        who = _name_of(status.st_uid)
    raise OutputError(
        f"the {kind} {state} belongs to {who}, and this user may not use it",
        advice=f"Run `{command} ...` as its owner, such as with sudo, or name a folder of your own.",
    )
