"""Open everything that single files are matched with: lists, exceptions and policy, as a worker's setup.

Checks of single files and the service use it; a scan opens the same parts between its own steps.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from hashscan.errors import OutputError
from hashscan.lists.exceptions import Exceptions, exceptions_at
from hashscan.lists.services.settings import StoredService
from hashscan.lists.storage.stored_version import VerificationLevel
from hashscan.lists.store import ListStore, OpenedLists
from hashscan.locking import ClosedOnExit
from hashscan.matching.effective_policy import effective_policy, unused_lists
from hashscan.matching.worker_setup import (
    WorkerSetup,
    algorithms_to_compute,
    asked_algorithms,
    library_for,
    licensed_by,
    require_computed,
    sandbox_options,
    video_rule_of,
)
from hashscan.model import MemberLimits
from hashscan.quarantine.stay_down import refresh_stay_down
from hashscan.settings.matching import DecodingLimits, MatchingSettings, PolicySettings
from hashscan.state.queries.overview import algorithms_taken
from hashscan.state_dir import StateDir


@dataclass(frozen=True, slots=True)
class OpenedMatching(ClosedOnExit):
    """Lists, exceptions and policy at one time.

    Keep this object as long as a worker may map the lists: until it is closed, no pull removes their files.
    """

    lists: OpenedLists
    exceptions: Exceptions
    setup: WorkerSetup
    trouble: str
    """Reason why the content that was restored from quarantine, or the state, can't be read; or empty."""
    took: Mapping[str, Collection[str]]
    """Algorithms that each matching service has ever taken, by the service's identity."""

    def close(self) -> None:
        """Release the lists."""
        self.lists.close()


def open_matching(
    state: StateDir,
    names: Sequence[str] | None,
    now: datetime,
    level: VerificationLevel,
    decoding: DecodingLimits,
    matching: MatchingSettings,
    policy: PolicySettings,
    tell: Callable[[str], None],
    containers: MemberLimits | None = None,
) -> OpenedMatching:
    """Verify and open the lists, and read exceptions and policy.

    Args:
        names: names of the lists; None for all stored lists.
        tell: called with each message for the operator.
        containers: limits within which containers are opened; None to open none.

    Raises:
        NoUsableListError: there is no list to match against.
        UsageError: a name is not valid.
        OutputError: a list or the exceptions can't be read.
    """
    if trouble := refresh_stay_down(state, now):
        tell(trouble)
    opened = ListStore(state.lists).open(names, now, level)
    try:
        for info in opened.infos:
            if info.problem is not None:
                tell(f"list {info.name} is {info.state.value}: {info.problem}")
        opened.require_usable(asking=True)
        exceptions = exceptions_at(state, {info.name for info in opened.infos}, now)
        for message in unused_lists(policy.rules, opened.infos):
            tell(message)
        effective = effective_policy(policy, opened.infos, state, exceptions.contents)
        if effective.trouble:
            tell(f"{effective.trouble}. {effective.remedy}")
        took, trouble = _algorithms_taken(state, opened.services, tell)
        asked = asked_algorithms(opened.handles, opened.services)
        library = library_for(asked, decoding)
        require_computed(opened.services, library)
    except BaseException:
        opened.close()
        raise
    setup = WorkerSetup(
        lists=opened.handles,
        sandbox=sandbox_options(decoding),
        algorithms=algorithms_to_compute(asked, licensed_by(library)),
        photodna=library,
        max_pixels=decoding.max_pixels,
        excepted=exceptions.in_force,
        policy=effective.policy,
        variants=matching.variants,
        review_threshold=matching.review_threshold,
        distances=policy.distances,
        containers=containers,
        videos=video_rule_of(opened.handles, containers, matching),
        members_unasked=bool(opened.services),
    )
    return OpenedMatching(opened, exceptions, setup, effective.trouble or trouble, took)


def _algorithms_taken(
    state: StateDir, services: Sequence[StoredService], tell: Callable[[str], None]
) -> tuple[Mapping[str, Collection[str]], str]:
    """Return the algorithms that services have ever taken; and the reason why that is not known, or nothing.

    If it is not known, each service may have taken all that it is asked about.
    """
    if not services:
        return {}, ""
    try:
        return algorithms_taken(state, services), ""
    except OutputError as error:
        tell(f"{error}. {error.advice}")
        return {service.identity: service.settings.algorithms for service in services}, str(error)
