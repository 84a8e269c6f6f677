"""The steps that set a machine up, or undo that; only those that are still to be done.

The record of what setup makes is written before it is made, so that a killed command can be continued, or
undone.
"""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from hashscan.atomic_files import output_errors, replace_file, replace_link
from hashscan.cli.setup.choices import QUARANTINE_STATE, Choices, NewList
from hashscan.cli.setup.files import CONFIG_FOLDER, UNIT_FOLDER, PlannedFile, enabled_units, root_file
from hashscan.cli.setup.machine import Machine
from hashscan.errors import UsageError
from hashscan.schema import InvalidDocumentError, decode_file, encode_file
from hashscan.state_dir import SERVICE_USER, SYSTEM_STATE, StateDir

RECORD = CONFIG_FOLDER / "setup.json"


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """All that setup has made on a machine, or began to."""

    choices: Choices
    user: bool
    group: bool
    folders: tuple[str, ...]
    files: dict[str, tuple[str, ...]]
    """SHA-256 of the contents that a path got."""
    units: tuple[str, ...]
    """The units that setup has enabled."""


@dataclass(frozen=True, slots=True)
class Step:
    """One change of the machine."""

    text: str
    run: Callable[[], None]
    content: str = ""
    """The content of a file, to be shown."""


def read_record(machine: Machine) -> Record | None:
    place = machine.place(RECORD)
    try:
        return decode_file(place.read_bytes(), Record)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise UsageError(f"{place} can't be read: {error.strerror}", advice="Run setup as root.") from error
    except (InvalidDocumentError, UsageError) as error:
        raise UsageError(
            f"{place} is damaged: {error}", advice="Remove it, and run setup again with all options."
        ) from error


@dataclass
class Setup:
    """A setup: the machine, what is wanted, and what the setup before has made."""

    machine: Machine
    choices: Choices
    files: Sequence[PlannedFile]
    lists: Sequence[NewList]
    before: Record | None
    force: bool

    def steps(self) -> list[Step]:
        """Return the steps in their order; refuse to change a file that is not setup's own, and a state
        folder of another user."""
        steps = [*self._user(), *self._folders()]
        files = [*self._files(), *self._leftover_files()]
        return [*steps, *files, *self._units(bool(files)), *self._lists()]

    def begun(self) -> Record:
        """Return the record to write before the first step."""
        machine, before = self.machine, self.before
        files = dict(before.files) if before else {}
        for file in self.files:
            if file.data is not None and (str(file.path) in files or not self._is_there(file)):
                old = files.get(str(file.path), ())
                files[str(file.path)] = tuple(dict.fromkeys((*old, _digest(file.data))))
        made = [str(folder) for folder in self._all_folders() if not machine.place(folder).exists()]
        units = [unit for unit in self._wanted_units() if not machine.is_enabled(unit)]
        return Record(
            choices=self.choices,
            user=machine.uid() is None or (before is not None and before.user),
            group=machine.gid() is None or (before is not None and before.group),
            folders=tuple(dict.fromkeys((*(before.folders if before else ()), *made))),
            files=files,
            units=tuple(dict.fromkeys((*(before.units if before else ()), *units))),
        )

    def ended(self, begun: Record) -> Record:
        planned = {str(file.path): file.data for file in self.files}
        files = {}
        for path, hashes in begun.files.items():
            if path in planned:
                data = planned[path]
                files[path] = hashes if data is None else (_digest(data),)
        units = tuple(unit for unit in begun.units if unit in self._wanted_units())
        return msgspec.structs.replace(begun, files=files, units=units)

    def _wanted_units(self) -> list[str]:
        return enabled_units(self.choices)

    def _user(self) -> Iterator[Step]:
        machine = self.machine
        if machine.gid() is None:
            yield _command(machine, machine.group_command())
        if machine.uid() is None:
            yield _command(machine, machine.user_command())

    def _all_folders(self) -> list[Path]:
        """Return the folders that are needed; the parents before what is in them."""
        folders = [CONFIG_FOLDER, SYSTEM_STATE]
        if self.choices.quarantine:
            folders.append(QUARANTINE_STATE)
        for file in self.files:
            folders += [folder for folder in (file.path.parent,) if folder not in folders]
        parents = {parent for folder in folders for parent in folder.parents if parent != Path("/")}
        return sorted({*folders, *parents}, key=lambda folder: len(folder.parts))

    def _folders(self) -> Iterator[Step]:
        machine = self.machine
        for folder in self._all_folders():
            place = machine.place(folder)
            if not place.exists():
                yield self._new_folder(folder)
            elif folder == SYSTEM_STATE:
                yield from self._state_of_root()
            elif folder == CONFIG_FOLDER:
                status = place.stat()
                if not (
                    status.st_mode & 0o001 or (status.st_mode & 0o010 and status.st_gid == machine.gid())
                ):
                    yield self._new_folder(folder)
        link = machine.place(QUARANTINE_STATE) / "lists"
        if self.choices.quarantine and self.choices.scheduler == "cron" and not os.path.lexists(link):
            target = str(StateDir(SYSTEM_STATE).lists)
            yield Step(f"make the symlink {link} to {target}", lambda: replace_link(link, target))

    def _new_folder(self, folder: Path) -> Step:
        owned, grouped = folder == SYSTEM_STATE, folder == CONFIG_FOLDER
        mode = 0o700 if folder in (SYSTEM_STATE, QUARANTINE_STATE) else 0o750 if grouped else 0o755
        owner = f"{SERVICE_USER if owned else 'root'}:{SERVICE_USER if owned or grouped else 'root'}"
        return Step(
            f"make the folder {self.machine.place(folder)} ({owner}, mode {mode:o})",
            lambda: self.machine.make_folder(folder, mode, owned=owned, grouped=grouped),
        )

    def _state_of_root(self) -> Iterator[Step]:
        """Yield the step that gives a state that root has begun to the service user."""
        machine = self.machine
        place = machine.place(SYSTEM_STATE)
        owner = place.stat().st_uid
        if owner == machine.uid():
            return
        if owner != 0 or place.is_symlink():
            raise UsageError(
                f"the state folder {place} belongs to the uid {owner}, and not to {SERVICE_USER}",
                advice=f"If it can be trusted: chown -hR {SERVICE_USER}: {place.resolve()}",
            )
        yield Step(
            f"give {place} and what is in it to {SERVICE_USER}", lambda: machine.give_away(SYSTEM_STATE)
        )

    def _is_there(self, file: PlannedFile) -> bool:
        try:
            return self.machine.place(file.path).read_bytes() == file.data
        except OSError:
            return False

    def _files(self) -> Iterator[Step]:
        before = self.before.files if self.before else {}
        foreign = []
        for file in self.files:
            place = self.machine.place(file.path)
            ours = before.get(str(file.path), ())
            found = _digest_of(place)
            if file.data is None:
                if found is None:
                    raise UsageError(
                        f"{place} is missing, which an earlier setup wrote",
                        advice="Name its content again, by --notify or --list.",
                    )
                continue
            if found is not None and found != _digest(file.data) and found not in ours:
                if _digest(file.data) in ours and not self.force:
                    # Somebody has changed the file since, and there is nothing new to write.
                    continue
                foreign.append(place)
            if found != _digest(file.data) or (
                ours and not self.machine.has_rights(file.path, for_service=file.for_service)
            ):
                yield self._writing(file, place, keep=found is not None and found not in ours)
        if foreign and not self.force:
            named = ", ".join(map(str, foreign))
            raise UsageError(
                f"setup has not written {named}, or the content was changed since",
                advice="Change it by hand, or give --force, which keeps it as .bak and replaces it.",
            )

    def _writing(self, file: PlannedFile, place: Path, *, keep: bool) -> Step:
        data = file.data or b""
        owner = f"root:{SERVICE_USER}, mode 640" if file.for_service else "root:root, mode 644"

        def write() -> None:
            if keep:
                kept = place.with_name(f"{place.name}.bak")
                with output_errors(f"{place} can't be kept as {kept}"):
                    os.link(place, kept, follow_symlinks=False)
            self.machine.write(file.path, data, for_service=file.for_service)

        kept = f", and keep the file that is there as {place.name}.bak" if keep else ""
        content = data.decode() if file.shown else f"({len(data)} bytes, not shown)\n"
        return Step(f"write {place} ({owner}){kept}:", write, content)

    def _leftover_files(self) -> Iterator[Step]:
        """Yield the removal of files of the setup before that are no longer wanted."""
        wanted = {str(file.path) for file in self.files}
        for path, hashes in (self.before.files if self.before else {}).items():
            if path not in wanted:
                yield from _removal(self.machine, Path(path), hashes)

    def _units(self, changed: bool) -> Iterator[Step]:
        machine, wanted = self.machine, self._wanted_units()
        before = self.before.units if self.before else ()
        if gone := [unit for unit in before if unit not in wanted and machine.is_enabled(unit)]:
            yield _command(machine, machine.systemctl("disable", "--now", *gone))
        reload = bool(wanted) and not machine.is_image and (changed or machine.needs_reload(wanted))
        if reload:
            yield _command(machine, machine.systemctl("daemon-reload"))
        if new := [unit for unit in wanted if not machine.is_enabled(unit)]:
            yield _command(machine, machine.systemctl("enable", "--now", *new))
        if reload and (running := [unit for unit in wanted if unit not in new]):
            yield _command(machine, machine.systemctl("restart", *running))

    def _lists(self) -> Iterator[Step]:
        machine = self.machine
        state = machine.place(SYSTEM_STATE)
        for one in self.lists:
            if not os.path.lexists(StateDir(state).lists / one.name):
                words = [
                    "lists",
                    "add",
                    one.name,
                    one.source,
                    "--root",
                    str(machine.place(root_file(one.name))),
                ]
                yield _command(
                    machine,
                    [sys.executable, "-P", "-m", "hashscan", *words, "--state", str(state)],
                    shown=f"hashscan {' '.join(words)}",
                )


@dataclass
class Removal:
    """The removal of what setup has made."""

    machine: Machine
    record: Record

    def steps(self) -> Iterator[Step]:
        """Yield the steps that undo a setup."""
        machine, record = self.machine, self.record
        if units := [unit for unit in record.units if machine.is_enabled(unit)]:
            yield _command(machine, machine.systemctl("disable", "--now", *units))
        for path, hashes in record.files.items():
            yield from _removal(machine, Path(path), hashes)
        if any(Path(path).is_relative_to(UNIT_FOLDER) for path in record.files) and not machine.is_image:
            yield _command(machine, machine.systemctl("daemon-reload"))
        yield Step(
            "remove the folders that setup has made and that are empty, and its user if no state is left",
            self._remove_folders_and_user,
        )
        # Last: if anything before fails, the next removal continues there.
        yield Step(f"remove {machine.place(RECORD)}", self._remove_record)

    def staying(self) -> Iterator[str]:
        """Yield what a removal leaves."""
        machine, record = self.machine, self.record
        for folder in (SYSTEM_STATE, QUARANTINE_STATE):
            place = machine.place(folder)
            if place.is_dir() and _content(place):
                what = (
                    "what is in quarantine, with its log"
                    if folder == QUARANTINE_STATE
                    else ("lists, reports, cases, results of scans, and a quarantine if there is one")
                )
                yield f"{place} stays: {what}"
        for path, hashes in record.files.items():
            place = machine.place(Path(path))
            if (found := _digest_of(place)) is not None and found not in hashes:
                yield f"{place} stays: it was changed since setup wrote it"
        if record.user and _has_state(machine):
            yield f"the user {SERVICE_USER} stays, because it owns the state folder"

    def _remove_folders_and_user(self) -> None:
        machine, record = self.machine, self.record
        link = machine.place(QUARANTINE_STATE) / "lists"
        if link.is_symlink() and not _content(link.parent):
            link.unlink()
        self._remove_empty_folders()
        if not _has_state(machine):
            if record.user and machine.uid() is not None:
                machine.run(machine.removal_command("user"))
            # userdel removes the group with the user on most systems.
            if record.group and machine.gid() is not None:
                machine.run(machine.removal_command("group"))

    def _remove_record(self) -> None:
        self.machine.place(RECORD).unlink()
        self._remove_empty_folders()

    def _remove_empty_folders(self) -> None:
        for folder in sorted(self.record.folders, key=len, reverse=True):
            place = self.machine.place(Path(folder))
            if place.is_dir() and not os.listdir(place):
                place.rmdir()


def _content(folder: Path) -> list[str]:
    """Return the names in a folder, without the link to lists that setup makes."""
    return [name for name in os.listdir(folder) if not (name == "lists" and (folder / name).is_symlink())]


def _has_state(machine: Machine) -> bool:
    place = machine.place(SYSTEM_STATE)
    return place.is_dir() and bool(os.listdir(place))


def write_record(machine: Machine, record: Record) -> None:
    """Write the record, unless it is there."""
    place, data = machine.place(RECORD), encode_file(record)
    with output_errors(f"{place} can't be written"):
        if _digest_of(place) == _digest(data):
            return
        missing = [folder for folder in place.parents if not folder.exists()]
        for folder in reversed(missing):
            folder.mkdir(mode=0o700 if folder == place.parent else 0o755)
        replace_file(place, data)


def run_steps(steps: Iterable[Step]) -> None:
    for step in steps:
        with output_errors(f"this failed: {step.text}"):
            step.run()


def _removal(machine: Machine, path: Path, hashes: Sequence[str]) -> Iterator[Step]:
    place = machine.place(path)
    if _digest_of(place) in hashes:
        yield Step(f"remove {place}", place.unlink)


def _command(machine: Machine, command: Sequence[str], shown: str | None = None) -> Step:
    return Step(f"run: {shown or ' '.join(command)}", lambda: machine.run(command))


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _digest_of(place: Path) -> str | None:
    """Return the SHA-256 of a file; None if there is none."""
    try:
        return _digest(place.read_bytes())
    except FileNotFoundError:
        return None
