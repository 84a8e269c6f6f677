"""The status of hash lists, as `lists status` prints it: a table with lines below, or JSON."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from hashscan.cli.output.list_changes import degenerate_note
from hashscan.lists import difference
from hashscan.lists.acceptance import OWN_LISTS, read_acceptance
from hashscan.lists.exchanges import pulling
from hashscan.lists.feedback import read_feedback
from hashscan.lists.pulling import client
from hashscan.lists.storage.layout import DEMO
from hashscan.matching.list_limits import MOVED_MAX, Origin, moved_unaccepted
from hashscan.model import ALGORITHMS, ListInfo, TrustState
from hashscan.quarantine.items import Item
from hashscan.quarantine.store import quarantined_items
from hashscan.schema import Time
from hashscan.state.queries.overview import progress_of
from hashscan.state_dir import StateDir
from hashscan.text import plural

if TYPE_CHECKING:
    from hashscan.lists.services.settings import StoredService
    from hashscan.lists.store import ListStore, OpenedLists


class EntryCount(Struct):
    """The active entries of an algorithm and a category."""

    algorithm: str
    category: str
    entries: int


class StagedVersion(Struct):
    """A version that waits for `lists activate`."""

    version: int
    state: TrustState
    entries: int
    expires: Time | None
    problem: str | None


class PullStatus(Struct):
    """The last pulls of a list."""

    succeeded: Time | None
    """Time of the last pull that completed; None if there was none."""
    tried: Time | None
    error: str | None
    skipped: tuple[str, ...]
    """The errors of sources that the last pull left out."""


class ServiceStatus(Struct):
    """The questions to a matching service, and how far it has answered."""

    adapter: str
    host: str
    algorithms: tuple[str, ...]
    variants: bool
    acts: bool
    contents: int | None
    """Contents in the state; None before the first scan."""
    answered: int | None
    hours: float | None
    """Time that the other contents take at the rate of the last scan; None where that is not known."""
    refused: tuple[str, ...]


class ListStatus(Struct):
    """The status of a hash list."""

    name: str
    state: TrustState
    version: int | None
    entries: int
    counts: list[EntryCount]
    keys: tuple[str, ...]
    expires: Time | None
    problem: str | None
    unused: dict[str, int]
    """Digests that are kept, but not used, by reason."""
    degenerate: dict[str, int]
    """Entries that are not matched by similarity, since too many unrelated pictures are, by algorithm."""
    waiting: dict[str, int]
    """Entries that are not compared with files until a licensee's library is named, by algorithm."""
    staged: StagedVersion | None
    pulls: PullStatus | None
    """None for a list that is not pulled."""
    service: ServiceStatus | None
    """None for a list that is no matching service."""
    accepted: Time | None
    """Time when a person accepted it; None for a list that few files are moved because of."""
    moved: int
    """Files that were moved because of it while that was limited."""
    excepted: int
    """Entries that are excepted here."""
    feedback: int
    """Entries about which feedback waits to be sent."""


def statuses_of(
    opened: OpenedLists, store: ListStore, state: StateDir, excepted: Counter[str], *, library: bool
) -> Iterator[ListStatus]:
    """Yield the status of each opened list; `excepted` are numbers of excepted entries by list; `library`
    says if the settings name the one that computes PhotoDNA."""
    feedback = Counter(each.list_name for each in read_feedback(state))
    items = quarantined_items(state)
    services = {service.name: service for service in opened.services}
    for info in opened.infos:
        service = services.get(info.name)
        yield ListStatus(
            name=info.name,
            state=info.state,
            version=info.version or None,
            entries=info.entries,
            counts=[EntryCount(*count) for count in info.counts],
            keys=info.key_ids,
            expires=info.expires,
            problem=info.problem,
            **_of_pulls(info, store),
            degenerate=dict(info.degenerate),
            waiting={
                name: count for name, count in info.by_algorithm if ALGORITHMS[name].licensed and not library
            },
            service=None if service is None else _of_service(service, state),
            **_of_limit(info.name, store, items),
            excepted=excepted[info.name],
            feedback=feedback[info.name],
        )


def _of_limit(name: str, store: ListStore, items: Sequence[Item]) -> dict[str, Any]:
    """Return the fields about the acceptance of a list."""
    if name in OWN_LISTS:
        return {"accepted": None, "moved": 0}
    source = store.source(name)
    found = read_acceptance(store.folder(name), source)
    return {"accepted": found and found.time, "moved": moved_unaccepted(items, Origin(name, source))}


def _of_pulls(info: ListInfo, store: ListStore) -> dict[str, Any]:
    """Return the fields about pulls; those of a list that is not pulled are empty."""
    if info.name == DEMO or not store.folder(info.name).is_pulled:
        return {"unused": {}, "staged": None, "pulls": None}
    last = client.attempts_of(store, info.name)
    staged = difference.staged_info(store, info.name)
    return {
        "unused": pulling.unused_digests(store, info.name),
        "staged": staged
        and StagedVersion(staged.version, staged.state, staged.entries, staged.expires, staged.problem),
        "pulls": PullStatus(last.succeeded, last.tried, last.error, last.problems),
    }


def _of_service(service: StoredService, state: StateDir) -> ServiceStatus:
    settings, progress = service.settings, progress_of(state, service)
    return ServiceStatus(
        settings.adapter,
        settings.host,
        settings.algorithms,
        settings.variants,
        settings.acts,
        None if progress is None else progress.contents,
        None if progress is None else progress.answered,
        None if progress is None else progress.hours,
        () if progress is None else progress.refused,
    )


def status_lines(status: ListStatus) -> Iterator[str]:
    """Yield what the table of lists does not say of a list."""
    by_algorithm: dict[str, list[str]] = {}
    for count in status.counts:
        by_algorithm.setdefault(count.algorithm, []).append(f"{count.entries} {count.category}")
    for algorithm, counts in by_algorithm.items():
        yield f"{algorithm}: {', '.join(counts)}"
    if status.degenerate:
        yield degenerate_note(status.degenerate.items())
    for reason, number in status.unused.items():
        yield f"{number} digests {reason} are kept, but not used"
    if (staged := status.staged) is not None:
        problem = staged.problem or f"{staged.entries} entries, expires {staged.expires}"
        yield (
            f"version {staged.version} is staged and NOT active, {staged.state.value}: {problem}; "
            f"see `hashscan lists diff {status.name}` and `hashscan lists activate {status.name}`"
        )
    yield from _acceptance_lines(status)
    if (pulls := status.pulls) is not None:
        yield f"last pulled {pulls.succeeded or 'never'}"
        if pulls.error:
            yield f"the last attempt, {pulls.tried}, failed: {pulls.error}"
        for skipped in pulls.skipped:
            yield f"skipped then: {skipped}"
    if status.service is not None:
        yield from _service_lines(status.service)


def _acceptance_lines(status: ListStatus) -> Iterator[str]:
    if status.accepted is not None:
        yield f"accepted {status.accepted}"
    elif status.name not in OWN_LISTS:
        yield (
            f"not accepted: {status.moved} of {MOVED_MAX} files moved because of it; see `hashscan lists "
            "accept --help`"
        )


def _service_lines(service: ServiceStatus) -> Iterator[str]:
    asked = ", ".join(service.algorithms) + (" of all variants" if service.variants else "")
    acts = "make matches" if service.acts else "are for review"
    yield f"{service.adapter} at {service.host} is asked about {asked}; answers {acts}"
    if service.contents is not None and service.answered is not None:
        wait = "" if service.hours is None else f", about {service.hours:.1f} hours at the rate so far"
        yield (
            f"{service.answered} of {plural(service.contents, 'content')} answered, "
            f"{service.contents - service.answered} to be asked{wait}"
        )
    for name in service.refused:
        yield f"the service does not take {name}: files with such a digest are not clean"
