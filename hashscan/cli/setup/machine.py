"""The machine that is set up: its users, folders, files and units, below a root folder."""

from __future__ import annotations

import grp
import os
import pwd
import shutil
import stat
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from hashscan.atomic_files import output_errors, replace_file, sync_folder
from hashscan.cli.options.privileges import controlling_uid
from hashscan.errors import OutputError, UsageError
from hashscan.settings.file import CONFIG_VARIABLE
from hashscan.state_dir import SERVICE_USER

_SECONDS = 300
_UNITS_OF_PACKAGES = ("usr/lib/systemd/system", "lib/systemd/system")
_HOME = "/var/lib/hashscan"


class Machine:
    """This machine, or an image of one in a folder."""

    def __init__(self, root: Path) -> None:
        self.root = root.resolve()
        self.is_image = self.root != Path("/")

    def place(self, path: Path) -> Path:
        """Return where a path of the machine lies; refuse a symlink of an image that leads out of it, and a
        path that another user than root controls."""
        place = self.root / path.relative_to("/")
        if not place.parent.resolve().is_relative_to(self.root):
            raise UsageError(f"{place.parent} leads out of {self.root}", advice="Mend the link.")
        if controlling_uid(place.parent) != 0:
            raise UsageError(
                f"another user than root controls {place.parent}", advice="Give it to root, and try again."
            )
        return place

    @property
    def has_systemd(self) -> bool:
        folders = _UNITS_OF_PACKAGES if self.is_image else ("run/systemd/system",)
        return any((self.root / folder).is_dir() for folder in folders)

    @property
    def has_cron(self) -> bool:
        return (self.root / "etc/cron.d").is_dir()

    def packaged_program(self) -> str | None:
        """Return the command of units that a package has installed; None without such units."""
        for folder in _UNITS_OF_PACKAGES:
            unit = self.root / folder / "hashscan.service"
            if unit.exists():
                lines = unit.read_text(encoding="utf-8").splitlines()
                (started,) = [line for line in lines if line.startswith("ExecStart=")]
                return started.removeprefix("ExecStart=").split()[0]
        return None

    def uid(self) -> int | None:
        if self.is_image:
            return self._number("etc/passwd")
        try:
            return pwd.getpwnam(SERVICE_USER).pw_uid
        except KeyError:
            return None

    def gid(self) -> int | None:
        if self.is_image:
            return self._number("etc/group")
        try:
            return grp.getgrnam(SERVICE_USER).gr_gid
        except KeyError:
            return None

    def _number(self, name: str) -> int | None:
        try:
            lines = (self.root / name).read_text(encoding="utf-8").splitlines()
        except FileNotFoundError:
            return None
        return next((int(x.split(":")[2]) for x in lines if x.startswith(f"{SERVICE_USER}:")), None)

    def group_command(self) -> list[str]:
        return ["groupadd", *self._prefix(), "--system", SERVICE_USER]

    def user_command(self) -> list[str]:
        options = ["--system", "--gid", SERVICE_USER, "--home-dir", _HOME, "--no-create-home"]
        shell = ["--shell", "/usr/sbin/nologin", "--comment", "hashscan scans"]
        return ["useradd", *self._prefix(), *options, *shell, SERVICE_USER]

    def removal_command(self, kind: str) -> list[str]:
        return [f"{kind}del", *self._prefix(), SERVICE_USER]

    def _prefix(self) -> list[str]:
        return ["--prefix", str(self.root)] if self.is_image else []

    def systemctl(self, *words: str) -> list[str]:
        """Return a command of systemd; in an image, nothing is started."""
        if self.is_image:
            words = tuple(word for word in words if word != "--now")
            return ["systemctl", f"--root={self.root}", *words]
        return ["systemctl", *words]

    def is_enabled(self, unit: str) -> bool:
        """Return True if systemd starts a unit at boot, and it is active unless this is an image."""
        states = ["is-enabled"] if self.is_image else ["is-enabled", "is-active"]
        return all(_run(self.systemctl(state, unit)).returncode == 0 for state in states)

    def needs_reload(self, units: Sequence[str]) -> bool:
        """Return True if systemd has not read the files of a unit since they changed."""
        if self.is_image or not units:
            return False
        shown = _run(self.systemctl("show", "--property=NeedDaemonReload", "--value", *units))
        return "yes" in shown.stdout.split()

    def write(self, path: Path, data: bytes, *, for_service: bool) -> None:
        """Write a file atomically, for all users, or for root and the group of the service user."""
        place = self.place(path)
        with output_errors(f"{place} can't be written"):
            replace_file(place, data)
            descriptor = os.open(place, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
            try:
                os.fchown(descriptor, 0, self._group() if for_service else 0)
                os.fchmod(descriptor, 0o640 if for_service else 0o644)
            finally:
                os.close(descriptor)

    def has_rights(self, path: Path, *, for_service: bool) -> bool:
        """Return True if a file has the owner and the mode that `write` gives it."""
        found = self.place(path).lstat()
        wanted = (0, self.gid() if for_service else 0, 0o640 if for_service else 0o644)
        return (found.st_uid, found.st_gid, stat.S_IMODE(found.st_mode)) == wanted

    def make_folder(self, path: Path, mode: int, *, owned: bool = False, grouped: bool = False) -> None:
        """Make a folder, of the service user if `owned`, or for its group if `grouped`."""
        place = self.place(path)
        with output_errors(f"{place} can't be made"):
            place.mkdir(mode=0o700, exist_ok=True)
            uid = self.uid() if owned else 0
            os.chown(place, uid or 0, self._group() if owned or grouped else 0, follow_symlinks=False)
            place.chmod(mode)
            sync_folder(place.parent)

    def _group(self) -> int:
        if (gid := self.gid()) is None:
            raise OutputError(f"there is no group {SERVICE_USER}", advice="Run `hashscan setup` again.")
        return gid

    def give_away(self, path: Path) -> None:
        """Give a folder of root's, and all that root has made in it, to the service user.

        No link is followed. A file with several names is left alone, as another name may lie elsewhere. The
        folder itself comes last: until then, nobody but root reaches what is in it.
        """
        uid, gid = self.uid() or 0, self._group()
        place = self.place(path)
        with output_errors(f"{place} can't be given to {SERVICE_USER}"):
            for _, folders, files, descriptor in os.fwalk(place, topdown=False, follow_symlinks=False):
                for name in (*folders, *files):
                    _give(name, descriptor, uid, gid)
            os.chown(place, uid, gid, follow_symlinks=False)

    def run(self, command: Sequence[str]) -> None:
        done = _run(command)
        if done.returncode:
            said = (done.stderr or done.stdout).strip() or f"exit code {done.returncode}"
            raise OutputError(f"`{' '.join(command)}` failed: {said}", advice="Mend this, and run it again.")


def _give(name: str, folder: int, uid: int, gid: int) -> None:
    descriptor = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)
    try:
        status = os.fstat(descriptor)
        if status.st_uid == 0 and (status.st_nlink == 1 or stat.S_ISDIR(status.st_mode)):
            # By the descriptor, as the name may become another file's.
            os.chown(f"/proc/self/fd/{descriptor}", uid, gid)
    finally:
        os.close(descriptor)


def _run(command: Sequence[str]) -> subprocess.CompletedProcess[str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("HASHSCAN_")}
    path = f"{kept.get('PATH', os.defpath)}:/usr/sbin:/sbin"
    try:
        return subprocess.run(
            command,
            env={**kept, "PATH": path, CONFIG_VARIABLE: os.devnull},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_SECONDS,
            check=False,
        )
    except FileNotFoundError as error:
        raise OutputError(
            f"there is no program {command[0]}",
            advice="Install it (passwd on Debian, shadow-utils on RHEL, shadow on Alpine, systemd).",
        ) from error
    except subprocess.TimeoutExpired as error:
        raise OutputError(f"`{' '.join(command)}` does not end", advice="Try it by hand.") from error


def own_program() -> str:
    """Return the path of this installation's command."""
    beside = Path(sys.prefix) / "bin" / "hashscan"
    found = str(beside) if beside.exists() else shutil.which("hashscan")
    if found is None:
        raise UsageError("no command hashscan is installed", advice="See docs/install.md.")
    return found


def check_program(program: str) -> None:
    """Check that root alone controls the installation, and that the service user can start it."""
    for path in (Path(program), Path(os.path.realpath(sys.executable)), Path(os.__file__)):
        closed = [folder for folder in path.resolve().parents if not folder.stat().st_mode & stat.S_IXOTH]
        if closed or controlling_uid(path) != 0:
            why = f"the user {SERVICE_USER} can't enter {closed[0]}" if closed else "root does not control it"
            raise UsageError(
                f"the installation can't be used for timers, because of {path}: {why}",
                advice="Install hashscan where only root can write, such as in /opt/hashscan.",
            )
