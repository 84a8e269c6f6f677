"""Whose state folder, or list's working folder, a command works on.

Root must leave no files there that its owner can't read, and follow no links that the owner has made.
"""

from __future__ import annotations

import os
import pwd
import stat
from enum import Enum
from pathlib import Path

from hashscan.cli.output.terminal import printable, say
from hashscan.errors import OutputError, UsageError

_LINKS_MAX = 40


class Needs(Enum):
    """Which of root's rights a command needs besides those of the state folder's owner."""

    NOTHING = "nothing"
    """It goes on as the owner."""
    READING = "reading"
    """It reads files of anybody; root is refused, with a command that keeps this right alone."""
    CHANGING = "changing"
    """It moves files of anybody; root is refused, as only a state folder of root's can say which."""


def settle_owner(words: str, state: Path, needs: Needs, kind: str = "state folder") -> None:
    """Go on as the owner of a folder that is one user's, or refuse to, before anything in it is opened.

    Args:
        words: the command as it was called.
        state: the folder, which need not exist yet.
        needs: which rights of root's the command needs.
        kind: what the folder is called.

    Raises:
        UsageError: root must not do this in another user's folder.
        OutputError: this user may not use it.
    """
    if os.geteuid() != 0:
        _require_access(words, state, kind)
        return
    owner = owner_of(state)
    if owner == 0:
        return
    name = _name_of(owner)
    if needs is not Needs.NOTHING:
        raise UsageError(
            f"the {kind} {state} is under the control of {name}, so root must not use it for `{words}`",
            advice=_advice(words, owner, needs),
        )
    try:
        _become(owner, state)
    except OSError as error:
        raise UsageError(
            f"the {kind} {state} is under the control of {name}, and this process can't become that "
            f"user: {error.strerror}",
            advice=f"Run `{_as_user(owner)} -- {words} ...`, or name a folder of root's.",
        ) from error
    for folder in (os.path.dirname(os.__file__), os.path.dirname(__file__)):
        if not os.access(folder, os.R_OK | os.X_OK, effective_ids=True):
            raise UsageError(
                f"{name}, who controls the {kind} {state}, can't read the installation in {folder}",
                advice="Install hashscan where all users can read it, such as in /opt/hashscan.",
            )
    say(f"hashscan: goes on as {name}, who controls the {kind} {printable(str(state))}")


def owner_of(path: Path) -> int:
    """Return the uid of who decides what lies at a path.

    It is the owner of the first folder or symbolic link on the way there that isn't root's. Root makes what
    is missing. Users that don't exist in this user namespace are passed over.
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
            # It is missing, or can't be used, which is said by whoever opens it.
            return 0
        if status.st_uid != 0 and _is_mapped(status.st_uid):
            return status.st_uid
        if not stat.S_ISLNK(status.st_mode):
            here = there
            continue
        links += 1
        if links > _LINKS_MAX:
            return 0
        target = os.readlink(there)
        here = "/" if target.startswith("/") else here
        todo += target.split("/")[::-1]
    return 0


def _is_mapped(uid: int) -> bool:
    """Return whether a user exists in this user namespace; the kernel shows all others as one user."""
    try:
        with open("/proc/self/uid_map", encoding="ascii") as file:
            ranges = [tuple(map(int, line.split())) for line in file]
    except OSError:
        return True
    return any(first <= uid < first + count for first, _, count in ranges)


def _become(uid: int, state: Path) -> None:
    """Give up root's rights, all groups among them, for those of another user, for good.

    Raises:
        OSError: this process may not.
    """
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
    os.setresuid(uid, uid, uid)


def _name_of(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"uid {uid}"


def _advice(words: str, owner: int, needs: Needs) -> str:
    if needs is Needs.CHANGING:
        return "Name a --state folder that root made, such as /var/lib/hashscan-quarantine."
    return (
        "Run it as that user, with the right to read all files: "
        f"`{_as_user(owner)} --inh-caps=+dac_read_search --ambient-caps=+dac_read_search -- {words} ...`; "
        "or name a --state folder of root's."
    )


def _as_user(uid: int) -> str:
    """Return the command that runs another one as a user, who need not have a name."""
    try:
        group, others = pwd.getpwuid(uid).pw_gid, "--init-groups"
    except KeyError:
        group, others = uid, "--clear-groups"
    return f"setpriv --reuid={uid} --regid={group} {others}"


def _require_access(words: str, state: Path, kind: str) -> None:
    """Refuse where the folder is there, and this user may not look into it.

    Raises:
        OutputError: see above.
    """
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
        advice=f"Run `{words} ...` as its owner, such as with sudo, or name a folder of your own.",
    )
