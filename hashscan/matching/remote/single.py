"""Ask matching services about single contents, without a state: `hashscan check`.

Each call waits for the services, as long as their patience allows. A service that is down is not waited for
again in the same command, so that an upload handler with many files waits once.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from types import MappingProxyType

from hashscan.errors import UsageError
from hashscan.hashing.variants import DigestRun
from hashscan.lists.services.settings import StoredService
from hashscan.locking import ClosedOnExit
from hashscan.matching.evaluation import FileTask, closest_of_each
from hashscan.matching.policy import sort_key
from hashscan.matching.remote.asker import Asker
from hashscan.matching.remote.questions import Question, excepted_of, match_of, questions_about
from hashscan.model import ExceptedEntry, Match
from hashscan.registry import MATCHING_SERVICES
from hashscan.shortcomings import Shortcoming

_POLL_SECONDS = 0.1


class _Service:
    """One service."""

    def __init__(
        self, service: StoredService, excepted: Iterable[ExceptedEntry], took: Collection[str]
    ) -> None:
        adapter = service.settings.adapter
        if adapter not in MATCHING_SERVICES:
            raise UsageError(
                f"the list {service.name} needs the adapter {adapter}, which is not installed",
                advice="Install it, or remove the list with `hashscan lists remove`.",
            )
        self.service = service
        self._excepted = excepted_of(service, excepted)
        self.asker = Asker(service, MATCHING_SERVICES[adapter])
        self._took = took
        self._asked: list[Question] = []
        self.refused: tuple[str, ...] = ()
        """Algorithms that the service should take, and does not."""
        self.partly = False
        """True if the content has a digest that the service does not take."""

    def ask(self, exact: Mapping[str, bytes], runs: Sequence[DigestRun]) -> bool:
        while not self.asker.ready:
            if self.asker.down:
                return False
            self.asker.collect(_POLL_SECONDS)
        introduction = self.asker.introduction
        assert introduction is not None
        settings = self.service.settings
        algorithms = [name for name in settings.algorithms if name in introduction.algorithms]
        self.refused = self.service.refused(introduction.algorithms, self._took)
        lacking = questions_about(0, exact, runs, self.refused, variants=settings.variants)
        self.partly = any(True for _ in lacking)
        questions = questions_about(0, exact, runs, algorithms, variants=settings.variants)
        self._asked = introduction.needed(questions)
        self.asker.submit(self._asked, [question.digest for question in self._asked])
        return True

    def answer(self, *, confirmed: bool) -> list[Match] | None:
        """Wait for the answer; None if there is none."""
        while True:
            for batch in self.asker.collect(_POLL_SECONDS):
                if batch.key is not self._asked:
                    # Of an earlier content, which was not waited for.
                    continue
                if batch.matches is None:
                    return None
                return [
                    match_of(
                        self.service,
                        self._excepted,
                        (asked := self._asked[match.digest]).digest.algorithm,
                        asked.variant,
                        asked.doubt,
                        match.entry,
                        match.category,
                        match.distance,
                        confirmed=confirmed,
                    )
                    for match in batch.matches
                ]
            if self.asker.down:
                return None


class SingleAsker(ClosedOnExit):
    """The matching services of one command that checks single contents."""

    def __init__(
        self,
        services: Sequence[StoredService],
        excepted: Iterable[ExceptedEntry],
        took: Mapping[str, Collection[str]] = MappingProxyType({}),
    ) -> None:
        """Begin to ask.

        Args:
            took: the algorithms that a service has ever taken, by its identity.

        Raises:
            UsageError: a service's key can't be read, or its adapter is not installed.
        """
        self.silent: list[str] = []
        """Services that have not answered about the last content."""
        self._services: list[_Service] = []
        try:
            for service in services:
                self._services.append(_Service(service, excepted, took.get(service.identity, ())))
        except BaseException:
            self.close()
            raise

    def consult(self, files: Sequence[FileTask]) -> None:
        """Add to files the matches with entries that services name; of several files, `silent` is the sum."""
        self.silent = []
        for file in files:
            runs = () if file.decoded is None else file.decoded.runs
            found, silent = self._ask(file.exact, runs, confirmed=file.confirmed)
            file.matches = sorted([*file.matches, *found], key=sort_key)
            self.silent += [name for name in silent if name not in self.silent]

    def matches(self, exact: Mapping[str, bytes], runs: Sequence[DigestRun] = ()) -> list[Match]:
        """Return the entries that services name for the digests of one content."""
        found, self.silent = self._ask(exact, runs, confirmed=False)
        return found

    def _ask(
        self, exact: Mapping[str, bytes], runs: Sequence[DigestRun], *, confirmed: bool
    ) -> tuple[list[Match], list[str]]:
        if not exact:
            # It could not be read.
            return [], []
        asked = [service for service in self._services if not service.asker.down and service.ask(exact, runs)]
        answers = {service: service.answer(confirmed=confirmed) for service in asked}
        found = [match for matches in answers.values() for match in matches or ()]
        silent = [
            service.service.name
            for service in self._services
            if answers.get(service) is None or service.partly
        ]
        return list(closest_of_each(found)), silent

    @property
    def down(self) -> bool:
        """True if a service is not asked any more, since it did not answer."""
        return any(service.asker.down for service in self._services)

    def shortcomings(self) -> list[Shortcoming]:
        """Return which services did not answer, and why."""
        return [each for service in self._services for each in service.asker.shortcomings(service.refused)]

    def close(self) -> None:
        """Stop asking."""
        for service in self._services:
            service.asker.close()
