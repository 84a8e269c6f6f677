"""Servers of organisations: real commands that scan, send reports and exchange notices."""

from __future__ import annotations

import json
import random
import threading
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from hashscan.model import Entry
from hashscan.reports.records import Record
from hashscan.reports.report import read_report
from hashscan.state_dir import StateDir
from tests.cli.conftest import environment
from tests.hub.intake.reports import finding, lines, long_matches, scan_record, summary
from tests.hub.killing.fleet import Commands
from tests.service.engine.serving import entry_of, store_list

LISTED = b"a file that is listed"
ENTRY: Entry = entry_of(LISTED)
_FILES = 40
"""Files that are not listed; where a fifth is missing, a scan is not complete."""
_BULK = 400
"""Findings of a report that is sent by hand, with so many matches that it has several parts."""


class Site:
    """A server of an organisation, which scans in one thread, and sends reports by hand in another."""

    def __init__(self, commands: Commands, folder: Path, name: str, organisation: str, seed: int) -> None:
        self.name, self.organisation = name, organisation
        self._commands = commands
        self.folder = folder
        self.www = folder / "www"
        self.www.mkdir(parents=True)
        self.state = StateDir(folder / "state")
        self.trouble: list[str] = []
        self.bulk: list[Path] = []
        self.received: Callable[[Path], int] = lambda report: 0
        """Returns how many records the hub has of a report; 0 if it has all."""
        self._chosen = random.Random(seed)
        self._number = 0
        store_list(self.state.path, ENTRY)
        for number in range(_FILES):
            (self.www / f"other{number}").write_bytes(b"other %d" % number)

    def set_up(self, url: str, key: str) -> None:
        """Write the settings by which commands find the hub."""
        key_file = self.folder / "key"
        key_file.write_text(key)
        key_file.chmod(0o600)
        (self.folder / "settings.toml").write_text(
            f'[hub]\nhub = "{url}"\nkey_file = "{key_file}"\nserver_name = "{self.name}"\n'
            f'[[site]]\nurl = "https://{self.name}.example/"\npath = "{self.www}"\n'
        )

    def work(self, stopping: threading.Event) -> None:
        """Run commands until told to stop."""
        while not stopping.is_set() and not self.trouble:
            self.change()
            self.scan()
            if self._chosen.random() < 0.5:
                self.sync()

    def work_by_hand(self, stopping: threading.Event) -> None:
        """Send reports by hand until told to stop."""
        while not stopping.wait(1) and not self.trouble:
            self.push_bulk()

    def finish(self) -> None:
        """Finish what was begun, remove some of the noticed files, and tell the hub."""
        self.scan()
        self.until_ended("report push", {0}, "--send-names")
        self.sync()
        for path in sorted(self.www.glob("noticed*"))[::2]:
            path.unlink()
        self.until_ended("cases check", {0})
        self.sync()

    def change(self) -> None:
        """Add a listed file, and remove one now and then."""
        self._number += 1
        (self.www / f"listed{self._number}").write_bytes(LISTED)
        there = sorted(self.www.glob("listed*"))
        if len(there) > 2 and self._chosen.random() < 0.5:
            self._chosen.choice(there).unlink()

    def scan(self) -> None:
        """Scan, and send the report and those that wait."""
        self.until_ended("scan", {0, 1}, "--list", "ours", self.www, "--push", "--send-names")

    def sync(self) -> None:
        """Exchange notices with the hub, which may be away for longer than the command waits."""
        while not self.trouble and self.until_ended("cases sync", {0, 13}) == 13:
            pass

    def push_bulk(self) -> None:
        """Send a report by hand."""
        number = len(self.bulk)
        path = self.folder / f"bulk{number}.jsonl"
        records = [finding(f"/{self.name}/bulk{number}/{n}", matches=long_matches()) for n in range(_BULK)]
        first = scan_record(str(uuid.uuid4()), host=self.name, targets=[{"path": f"/bulk{number}"}])
        path.write_bytes(lines([first, *records, summary()]))
        self.bulk.append(path)

        def watch() -> Callable[[], bool]:
            least = self.received(path) + self._chosen.randrange(1, _BULK // 2)
            return lambda: self.received(path) >= least

        words = (path, "--send-names")
        while not self.trouble and self.until_ended("report push", {0, 13}, *words, watch=watch) == 13:
            pass

    def until_ended(
        self,
        command: str,
        codes: set[int],
        *arguments: object,
        watch: Callable[[], Callable[[], bool]] | None = None,
    ) -> int:
        """Run a command, again each time that it is killed, until it has ended; return its code.

        For `watch` see `Commands.run`.
        """
        variables = environment(self.state.path, {"HASHSCAN_WORKERS": "1", "HASHSCAN_BACKGROUND": "no"})
        words = ["--config", self.folder / "settings.toml", *command.split(), *arguments]
        code, stderr = self._commands.run(command, words, variables, watch)
        if code not in codes or "Traceback" in stderr:
            self.trouble.append(f"{self.name}: {command}: exit code {code}: {stderr[-2000:]}")
        return code

    def reports(self) -> Iterator[tuple[list[Record], bool]]:
        """Yield the records of all whole reports; False for one whose scan was killed before it was named."""
        folder = self.state.reports
        for path in [*self.bulk, *folder.glob("*.jsonl"), *folder.glob("*.partial")]:
            if path.stat().st_size:
                records = list(read_report(path))
                if records[-1]["type"] == "summary":
                    yield records, path.suffix == ".jsonl"

    def cases(self) -> list[dict[str, Any]]:
        """Return the cases of this server's own ledger."""
        file = self.folder / "cases.json"
        self.until_ended("cases list", {0}, "--status", "all", "--format", "json", "--output", file)
        return [json.loads(line) for line in file.read_text().splitlines()]
