"""Lists of exchanges: add one, and pull: fetch what has changed, and make a version of it.

The fetch runs in a process of its own (`fetching_process`). Its answers are validated here, and stored page
by page (`records`). A fetch that reaches the end is made into a version, which is staged, compared and put in
use like one of a signed list; one that fails or is killed leaves the last version in use, and the next pull
goes on after the last page.

How this could be used to hide a file or to accuse one: an exchange, or somebody who speaks for it, can send
any entries and withdraw any; they are not signed. So they are acted on only with `--act-on exchange`, a
version whose new entries hit many known files waits for `lists activate --confirm`, and the circuit breaker
holds. An answer that is cut short, of another kind, or from another clock ends the fetch, and never passes
for an empty one. The number of withdrawals is not limited: `lists diff` shows them before activation.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime
from itertools import chain
from pathlib import Path
from typing import IO

import msgspec
from msgspec import structs

from hashscan.atomic_files import output_errors
from hashscan.errors import NoUsableListError, OutputError, UnreachableError, UsageError
from hashscan.lists.difference import ActivationCheck
from hashscan.lists.exchanges.base import (
    FRAME_MAX,
    Answer,
    Exchange,
    Failed,
    Finished,
    Page,
    Request,
    Submitted,
    encode,
)
from hashscan.lists.exchanges.fetching_process import HEADER, missing_library
from hashscan.lists.exchanges.records import Records
from hashscan.lists.index.segments import compile_new
from hashscan.lists.pulling.client import Pulled, PullProgress, put_in_use
from hashscan.lists.pulling.origin import recorded
from hashscan.lists.storage.layout import ListFolder
from hashscan.lists.storage.local_list import (
    ExchangeSource,
    Fetched,
    read_exchange_source,
    read_fetched,
    write_exchange_source,
    write_fetched,
    write_local,
)
from hashscan.lists.storage.signed_list import OpenedList
from hashscan.lists.storage.stored_version import VerificationLevel
from hashscan.lists.store import ListStore, open_version
from hashscan.model import USABLE_STATES
from hashscan.secret_files import read_secret
from hashscan.timefmt import format_utc
from hashscan.web_address import parse
from hashscan.web_connection import checked_proxy, environment_proxy, tls_context

STALE_AFTER = 3 * 86_400.0
"""Default seconds after which a list that was not pulled is stale."""
PAUSES = (1.0, 2.0, 4.0)
"""Seconds before each retry at a busy server that names no time."""
SECONDS_MAX = 6 * 3600.0
"""Longest fetch in seconds; the next pull goes on where it ended."""
_MODULE = "hashscan.lists.exchanges.fetching_process"
_ENVIRONMENT = ("PATH", "PYTHONPATH", "LD_LIBRARY_PATH", "LANG", "LC_ALL", "SSL_CERT_FILE", "SSL_CERT_DIR")
"""Variables that the fetching process gets; no other, since they may hold secrets or a proxy."""
_WHAT = "the exchange's credentials"

Exchanges = Mapping[str, type[Exchange]]


def checked_source(
    exchanges: Exchanges,
    exchange: str,
    environment: str | None,
    credentials: Path,
    *,
    proxy: str | None = None,
    ca_file: Path | None = None,
    stale_after: float = STALE_AFTER,
) -> ExchangeSource:
    """Return a source in its stored form, with absolute paths of all files.

    Raises:
        UsageError: there is no such exchange or environment, the credentials can't be used, or the library is
            not installed.
    """
    kind = exchange_of(exchanges, exchange)
    environments = kind.environments()
    if environment is None and len(environments) == 1:
        environment = next(iter(environments))
    if environment is None:
        raise UsageError("no environment is named", advice=f"Add --environment with {_named(kind)}.")
    if not 0 < stale_after < float("inf"):
        raise UsageError("a list can't be stale after that time", advice="Name a time such as 3d.")
    _address(kind, environment, _read_credentials(kind, credentials))
    tls_context(str(ca_file) if ca_file else None)
    return ExchangeSource(
        exchange,
        environment,
        str(credentials.absolute()),
        stale_after,
        checked_proxy(proxy) if proxy else None,
        str(ca_file.absolute()) if ca_file else None,
    )


def add(store: ListStore, name: str, source: ExchangeSource) -> None:
    """Store the source of a list of an exchange; nothing is fetched.

    Raises:
        UsageError: the name is not valid, or a list of that name exists.
        LockedError: another process is writing this list.
        OutputError: the list can't be written.
    """
    with store.adding(name) as folder:
        folder.renew_identity()
        # Last, because this file makes the folder a list of an exchange.
        write_exchange_source(folder, source)


def source_of(store: ListStore, name: str) -> ExchangeSource | None:
    """Return the source of a list of an exchange; None if this store has no such list of that name.

    Raises:
        OutputError: the stored source can't be read.
    """
    with output_errors(f"the source of the list {name!r} can't be read"):
        return read_exchange_source(store.folder(name))


def pull(
    store: ListStore,
    name: str,
    exchanges: Exchanges,
    *,
    stage: bool = False,
    admits: ActivationCheck | None = None,
    watch: PullProgress | None = None,
) -> Pulled:
    """Fetch what has changed at the exchange, make a version of it, and activate that.

    The arguments are those of `pulling.client.pull`.

    Raises:
        UsageError: there is no such list, its credentials can't be used, or the library is not installed.
        UnreachableError: the exchange gives no usable answer; the last version stays active.
        NoUsableListError: the exchange has no entry that can be used.
        LockedError: another process is writing this list.
        OutputError: the list can't be written.
    """
    source = source_of(store, name)
    if source is None:
        raise UsageError(
            f"there is no list {name!r} of an exchange", advice="Add it first with `hashscan lists add`."
        )
    kind = exchange_of(exchanges, source.exchange)
    with store.writing(name) as folder:
        folder.make()
        with (
            recorded(folder.attempts) as problems,
            Records(folder.records, f"{source.exchange} {source.environment}") as records,
        ):
            if records.dropped:
                problems.append("the records of another exchange were there, and are dropped")
            fetch = _Fetch(name, kind, source, records, watch)
            begun = datetime.now(UTC)
            unread = fetch.run()
            if unread:
                problems.append(f"{unread} records can't be read by the library, and are left out")
            made = _NextVersion(name, folder, records, format_utc(begun))
            pulled = made.take_over(stage=stage, admits=admits, received=fetch.received)
            return replace(pulled, problems=tuple(problems))


def unused_digests(store: ListStore, name: str) -> dict[str, int]:
    """Return how many digests of the active version can't be used, by reason.

    Raises:
        OutputError: the version can't be read.
    """
    with output_errors(f"the list {name!r} can't be read"):
        active = store.folder(name).active()
        fetched = read_fetched(active) if active else None
        return fetched.left_out if fetched else {}


def exchange_of(exchanges: Exchanges, name: str) -> Exchange:
    try:
        return exchanges[name]()
    except ImportError:
        failed = missing_library()
        raise UsageError(failed.message, advice=failed.advice) from None
    except KeyError:
        raise UsageError(
            f"there is no exchange {name!r}", advice=f"There is {', '.join(exchanges)}."
        ) from None


def _address(kind: Exchange, environment: str, credentials: Mapping[str, str]) -> str:
    try:
        return kind.address(environment, credentials)
    except KeyError:
        raise UsageError(
            f"{kind.name} has no environment {environment!r}",
            advice=f"Add --environment with {_named(kind)}.",
        ) from None


def _named(kind: Exchange) -> str:
    return kind.environment_form or f"one of {', '.join(kind.environments())}"


def _read_credentials(kind: Exchange, path: Path) -> dict[str, str]:
    """Read the credentials; a file that others can access is an error."""
    try:
        return kind.parse_credentials(read_secret(path, _WHAT).decode("utf-8"))
    except ValueError:
        raise UsageError(
            f"{_WHAT}: {path} does not hold them", advice=f"It must hold {kind.credentials_form}."
        ) from None


class _Fetch:
    """One run of the fetching process."""

    def __init__(
        self, name: str, kind: Exchange, source: ExchangeSource, records: Records, watch: PullProgress | None
    ) -> None:
        self.received = 0
        """Bytes of all answers of the process."""
        self._records = records
        self._watch = watch
        self._request = request_to(name, kind, source, records.checkpoint)

    def run(self) -> int:
        """Fetch to the end, and store all pages; return the number of records that could not be read."""
        with closing(answers_to(self._request, self._count)) as answers:
            for answer in answers:
                if isinstance(answer, Finished):
                    return answer.unread
                if isinstance(answer, Page):
                    self._records.apply(answer)
        raise AssertionError("the last answer is Finished")

    def _count(self, received: int) -> None:
        self.received += received
        if self._watch is not None:
            self._watch.received(received)


def request_to(name: str, kind: Exchange, source: ExchangeSource, checkpoint: str | None) -> Request:
    """Return a request for the fetching process, with the credentials."""
    credentials = _read_credentials(kind, Path(source.credentials))
    address = _address(kind, source.environment, credentials)
    scheme, host, _ = parse(address.encode()).endpoint
    return Request(
        f"{type(kind).__module__}:{type(kind).__qualname__}",
        name,
        source.environment,
        address,
        credentials,
        checkpoint,
        source.proxy or environment_proxy(scheme, host),
        source.ca_file,
        PAUSES,
    )


def answers_to(
    request: Request, count: Callable[[int], None]
) -> Generator[Page | Submitted | Finished, None, None]:
    """Run the process that talks to the exchange, and yield its answers; the last one is `Finished`. The
    process is killed when the generator is closed. `count` gets the length of each answer in bytes."""
    environment = {name: os.environ[name] for name in _ENVIRONMENT if name in os.environ}
    environment |= {"TZ": "UTC", "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(
        # -P: files in the working folder, which may be a customer's, must not be imported as modules.
        [sys.executable, "-P", "-m", _MODULE],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=environment,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    until = time.monotonic() + SECONDS_MAX
    # A server that never ends an answer would otherwise keep the list locked.
    deadline = threading.Timer(SECONDS_MAX, process.kill)
    try:
        deadline.start()
        with process.stdin:
            process.stdin.write(encode(request))
        for answer in _decoded(process.stdout, count):
            if isinstance(answer, Failed):
                raise (UsageError if answer.usage else UnreachableError)(
                    answer.message, advice=answer.advice or None
                )
            yield answer
            if isinstance(answer, Finished):
                return
    finally:
        deadline.cancel()
        process.kill()
        process.stdout.close()
        code = process.wait()
    if time.monotonic() >= until:
        raise UnreachableError(
            f"the exchange took more than {SECONDS_MAX / 3600:.0f} hours",
            advice="What came so far is kept: pull again to go on.",
        )
    raise OutputError(
        f"the process that talks to the exchange ended with {_exit(code)}",
        advice="If memory ran out, the kernel's log says so; what came so far is kept.",
    )


def _decoded(output: IO[bytes], count: Callable[[int], None]) -> Iterator[Answer]:
    while len(header := output.read(HEADER.size)) == HEADER.size:
        (length,) = HEADER.unpack(header)
        data = output.read(min(length, FRAME_MAX + 1))
        try:
            answer = msgspec.msgpack.decode(data, type=Page | Failed | Finished | Submitted)
        except msgspec.MsgspecError:
            # Not its message, which may repeat a value.
            raise UnreachableError("the exchange sends records that can't be valid") from None
        count(len(data))
        yield answer


def _exit(code: int) -> str:
    return f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"


class _NextVersion:
    """The version that is made of the records after a fetch; the caller holds the list's lock."""

    def __init__(self, name: str, folder: ListFolder, records: Records, time: str) -> None:
        self._name = name
        self._folder = folder
        self._records = records
        self._time = time

    def take_over(self, *, stage: bool, admits: ActivationCheck | None, received: int) -> Pulled:
        """Make the version, unless it is there already, and stage or activate it."""
        folder = self._folder
        active, staged = folder.active(), folder.staged()
        before = self._opened(active) if active else None
        usable = before is not None and before.info.state in USABLE_STATES
        previous = before.info.version if before and usable else None
        if active and usable and self._renewed(active):
            folder.drop_staged()
            folder.remove_superseded()
            info = self._opened(active, VerificationLevel.SIZES).info
            return Pulled(info, previous, False, False, False, received)
        if staged and self._opened(staged).handle and self._renewed(staged):
            finished = staged
        else:
            finished = self._made()
        info = self._opened(finished, VerificationLevel.SIZES).info
        return put_in_use(folder, finished, info, previous, stage=stage, admits=admits, fetched=received)

    def _opened(
        self, version: Path, thoroughness: VerificationLevel = VerificationLevel.CHECKSUMS
    ) -> OpenedList:
        return open_version(self._name, self._folder, version, datetime.now(UTC), thoroughness)

    def _renewed(self, version: Path) -> bool:
        """Return True if a version has the present records, after noting that they were confirmed now."""
        fetched = read_fetched(version)
        if fetched is None or fetched.revision != self._records.revision:
            return False
        write_fetched(version, structs.replace(fetched, time=self._time))
        return True

    def _made(self) -> Path:
        """Return a new, finished version, made of the records."""
        folder, left_out = self._folder, Counter[str]()
        earlier = list(folder.finished_versions())
        numbers = [self._opened(version, VerificationLevel.SIZES).info.version for version in earlier]
        number = max(numbers, default=0) + 1
        staging = folder.fresh_staging()
        blocks = self._records.blocks(left_out)
        first = next(blocks, None)
        if first is None:
            raise NoUsableListError(
                "the exchange has no entry that can be used",
                advice="Check the environment, and ask the exchange. An earlier version stays in use until "
                "it is stale; `hashscan lists remove` removes it.",
            )
        write_local(self._name, staging, chain((first,), blocks), self._name, number, datetime.now(UTC))
        write_fetched(staging, Fetched(self._records.revision, self._time, dict(left_out)))
        fresh = self._opened(staging, VerificationLevel.SIZES).handle
        if fresh is not None:
            compile_new(fresh, staging, earlier)
        return folder.finish_staging(number)
