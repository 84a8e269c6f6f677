"""Programs that tests start are as quick as the tests and take signals as at a terminal; nothing is timed.

Each test belongs to a tier, `unit`, `integration` or `system`, by the folder or file that it lies in. A test
of a unit file that starts a process or a server is marked `integration`; without the mark it fails.
"""

from __future__ import annotations

import gc
import os
import signal
import sys
import tempfile
from collections.abc import Generator, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import hypothesis
import pytest

# Before Pillow, which tests import, too.
import hashscan.hashing  # noqa: F401
from hashscan.sources.filesystem.ctime import TRUSTED_TYPES
from hashscan.sources.filesystem.mounts import filesystem_type
from tests import prefork
from tests.examples import QUICK_EXAMPLES
from tests.quick_disk import sync_nothing

# Without a terminal scans would step back behind whatever else runs here, and tests time out.
os.environ["HASHSCAN_BACKGROUND"] = "no"

# What is unchanged is chosen at random to be read again, and tests count.
os.environ["HASHSCAN_REREAD"] = "0%"

sync_nothing()

# The certificates of all authorities take each client 7 ms to read, and no test asks servers of others.
os.environ["SSL_CERT_FILE"] = os.devnull

# For the format "iri", which no schema here has, jsonschema would build a parser for seconds, in each run.
sys.modules["rfc3987_syntax"] = None  # type: ignore[assignment]

# A shell ignores some signals in commands that it runs in the background, and their processes would, too.
signal.signal(signal.SIGINT, signal.default_int_handler)
for number in (signal.SIGHUP, signal.SIGQUIT):
    signal.signal(number, signal.SIG_DFL)

# On a busy machine any example may take long. Examples are the same in each run, so that a change is judged
# by what it changed; "search" looks for others.
hypothesis.settings.register_profile(
    "full",
    deadline=None,
    suppress_health_check=[hypothesis.HealthCheck.too_slow],
    derandomize=True,
    database=None,
)
hypothesis.settings.register_profile(
    "quick", hypothesis.settings.get_profile("full"), max_examples=QUICK_EXAMPLES
)
hypothesis.settings.register_profile(
    "search", hypothesis.settings.get_profile("full"), derandomize=False, max_examples=1000
)
hypothesis.settings.load_profile(os.environ.get("TEST_EXAMPLES", "quick"))

HERE = Path(__file__).parent

UNIT = (
    *("attribution", "cases", "hashing", "lists", "matching", "reports", "settings", "state"),
    *("test_layers.py", "test_model.py"),
)
SYSTEM = (
    *("cli", "test_benchmarks.py", "test_ci.py", "test_dask_example.py", "test_examples.py"),
    "test_getting_lists.py",
    *("hashing/browser", "test_main_module.py", "test_quarantine_unit.py", "test_readme.py"),
)
INTEGRATION = (
    *("cases/statistics/test_charts.py", "cases/test_endings.py", "cases/test_sync.py"),
    *("hashing/media/test_decoder.py", "hashing/media/test_large_pictures.py"),
    *("hashing/test_fuzz_repairs.py", "lists/exchanges", "lists/formats"),
    *("lists/publishing", "lists/pulling", "lists/test_difference.py", "lists/test_exceptions.py"),
    *("lists/test_killed.py", "matching/test_remote_adapters.py", "reports/test_csv_in_spreadsheet.py"),
    "reports/page/test_html_in_browser.py",
    *("reports/test_report_file.py", "state/test_vacuum.py"),
)
"""Those in the folders of unit tests that are not as quick; and all that is not listed."""

EXCHANGE = (
    *("lists/exchanges", "test_registry.py", "cli/commands/test_lists_exchange.py", "test_getting_lists.py"),
    "test_threatexchange_command.py",
)
"""Those that need the extra for exchanges, which a plain installation for tests has not."""

LONGEST = (
    *("test_readme.py", "test_examples.py", "cli/test_year.py", "scan/cluster/test_cluster.py"),
    *("lists/pulling/test_pull_killed.py", "cases/test_endings.py", "test_benchmarks.py", "test_ci.py"),
    *("cli/test_surroundings.py", "test_dask_example.py", "test_browser.py", "scan/workers/test_pool.py"),
    *("hashing/browser/test_as_chromium_shows.py", "reports/page/test_html_in_browser.py", "test_site.py"),
    *("lists/exchanges/test_contract.py", "lists/test_killed.py", "sources/objects/test_large.py"),
    *("cli/test_state_owners.py", "cli/test_serve.py", "cases/statistics/test_web_page.py"),
)
"""Begun first, or the processes of a parallel run would wait for them at the end."""

SERVED = {
    "hub": ("hub",),
    "cluster": ("scan/cluster",),
    "objects": (
        *("sources/objects", "quarantine/objects", "cli/test_quarantine_objects.py"),
        *("cli/test_scan_objects.py", "cli/test_state_objects.py", "cli/test_stay_down_objects.py"),
    ),
}
"""Those that one process of a parallel run runs, as each would start the servers that they share."""


@cache
def folders_of(path: Path) -> set[str]:
    """Return a file and all its folders, by their names beneath the tests."""
    inside = path.relative_to(HERE)
    return {inside.as_posix(), *map(Path.as_posix, inside.parents)}


@cache
def tier_of(path: Path) -> str:
    """Return the tier of those tests in a file that have no mark of another."""
    for tier, names in (("integration", INTEGRATION), ("system", SYSTEM), ("unit", UNIT)):
        if not folders_of(path).isdisjoint(names):
            return tier
    return "integration"


@cache
def served_by(path: Path) -> str | None:
    """Return the name of the servers that the tests in a file share with those in others."""
    return next((name for name, paths in SERVED.items() if not folders_of(path).isdisjoint(paths)), None)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> object:
    """Distribute files, but let one worker run those that share servers."""
    if config.option.dist != "loadfile":
        return None
    from xdist.scheduler import LoadFileScheduling

    class LoadServed(LoadFileScheduling):
        def _split_scope(self, nodeid: str) -> str:
            file = super()._split_scope(nodeid)
            return served_by(config.rootpath / file) or file

    return LoadServed(config, log)


def only_units(config: pytest.Config) -> bool:
    """Return whether a run asks for unit tests alone, as `-m unit` and `-m "unit and not slow"` do."""
    return config.option.markexpr.replace(" and not slow", "") == "unit"


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Name the processes that workers share to one of them."""
    node.workerinput["preforks"] = prefork.share_preforks()


def pytest_configure(config: pytest.Config) -> None:
    """Refuse a temporary folder on which no scan takes a file for unchanged, as tests of the state expect."""
    prefork.shared_folder = getattr(config, "workerinput", {}).get("preforks", "")
    folder = os.open(tempfile.gettempdir(), os.O_RDONLY | os.O_DIRECTORY)
    try:
        kind = filesystem_type(folder)
    finally:
        os.close(folder)
    if kind not in TRUSTED_TYPES.values():
        where = f"{tempfile.gettempdir()} must lie on {' or '.join(TRUSTED_TYPES)}"
        pytest.exit(f"{where}: name another folder in TMPDIR", returncode=pytest.ExitCode.USAGE_ERROR)


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Import no file without tests that are asked for, where unit tests or slow ones are."""
    if collection_path.suffix != ".py" or not collection_path.name.startswith("test_"):
        return None
    if only_units(config):
        unasked = tier_of(collection_path) != "unit"
    else:
        unasked = config.option.markexpr == "slow or exchange" and not (
            "mark.slow" in collection_path.read_text(encoding="utf-8")
            or folders_of(collection_path) & set(EXCHANGE)
        )
    return True if unasked else None


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Never look for garbage among what is imported and collected, which stays until the end."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish() -> None:
    """Look for garbage once: pytest does so five times at the end, among all that stays."""
    gc.collect()
    gc.freeze()


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark each test with its tier; slow ones are in none that is to be quick."""
    for item in items:
        tier = "integration" if item.get_closest_marker("integration") else tier_of(item.path)
        if tier != "unit" or item.get_closest_marker("slow") is None:
            item.add_marker(tier)
        if not folders_of(item.path).isdisjoint(EXCHANGE):
            item.add_marker("exchange")
    place = {HERE / name: number for number, name in enumerate(LONGEST)}
    items.sort(key=lambda item: -1 if served_by(item.path) else place.get(item.path, len(place)))


NO_UNIT = frozenset({"os.fork", "os.forkpty", "os.posix_spawn", "socket.bind", "subprocess.Popen"})
"""Events of the interpreter that no unit test causes: processes and servers."""

running_unit: str | None = None


def refuse_processes(event: str, arguments: tuple[object, ...]) -> None:
    """Fail a unit test that starts a process or a server."""
    if running_unit is not None and event in NO_UNIT:
        pytest.fail(f"{running_unit} causes {event}, which no unit test may: mark it integration")


sys.addaudithook(refuse_processes)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Know of each test whether it is a unit test."""
    global running_unit
    running_unit = item.nodeid if item.get_closest_marker("unit") else None
    try:
        return (yield)
    finally:
        running_unit = None


@pytest.fixture(scope="module")
def forked_zygotes() -> Iterator[None]:
    """Fork the zygotes of workers in this process from it, as each that is started loads the decoder."""
    from tests.forked_zygote import zygotes_forked

    with zygotes_forked():
        yield


@pytest.fixture(scope="module")
def forking_workers() -> None:
    """Fork the zygotes of this process's workers from their fork server, which loads the decoder."""
    use_forking_server()


def use_forking_server() -> None:
    """Have workers forked from a server that loads the decoder, as `forking_workers` says.

    A fork server that another test has started is ended: its workers would start an interpreter each. What
    keeps workers for a whole session calls this before it starts them: a server in use does not end.
    """
    global forking_server
    from multiprocessing.forkserver import _forkserver  # type: ignore[attr-defined]

    from hashscan.scan.workers.process_setup import warm_up

    if _forkserver._forkserver_pid is None or _forkserver._forkserver_pid != forking_server:
        _forkserver._stop()
        warm_up(["tests.scan.workers.forked_zygotes", "hashscan.service.engine.worker_process"])
        forking_server = _forkserver._forkserver_pid


forking_server: int | None = None
"""The process of the fork server that loads the decoder."""
