"""The digests of a content that a matching service is asked about, and the matches made of its answers."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import NamedTuple

from hashscan.hashing.variants import SIMILARITY_DOUBTS, DigestRun
from hashscan.lists.exceptions import service_fingerprint
from hashscan.lists.services.adapter import AskedDigest
from hashscan.lists.services.settings import StoredService
from hashscan.model import ALGORITHMS, Doubt, ExceptedEntry, Match


class Question(NamedTuple):
    """One digest of a content."""

    content: int
    variant: str
    doubt: Doubt | None
    digest: AskedDigest


def questions_about(
    content: int,
    exact: Mapping[str, bytes],
    runs: Iterable[DigestRun],
    algorithms: Collection[str],
    *,
    variants: bool,
) -> Iterator[Question]:
    """Yield the digests of a content that a service is asked about.

    Args:
        content: number of the content, which the questions repeat.
        exact: digests of the bytes, by algorithm.
        runs: digests of the pictures.
        algorithms: those that the service is asked about.
        variants: True for all variants of a picture.
    """
    for name in algorithms:
        if name in exact:
            yield Question(content, "as stored", None, AskedDigest(name, exact[name]))
    for run in runs:
        known = ALGORITHMS[run.algorithm]
        if run.algorithm not in algorithms or run.quality < known.min_quality:
            continue
        if variants:
            for digest in run.digests():
                yield _of_run(content, digest.variant, run, digest.value)
        elif run.plain:
            yield _of_run(content, "as stored", run, run.values[: known.size])


def _of_run(content: int, variant: str, run: DigestRun, value: bytes) -> Question:
    return Question(content, variant, SIMILARITY_DOUBTS[run.doubt], AskedDigest(run.algorithm, value))


def excepted_of(service: StoredService, excepted: Iterable[ExceptedEntry]) -> dict[str, ExceptedEntry]:
    """Return the exceptions of entries of a service, by the entries' ids."""
    mark = service_fingerprint(service.identity)
    return {e.entry_id: e for e in excepted if e.list_name == service.name and e.fingerprint == mark}


def match_of(
    service: StoredService,
    excepted: Mapping[str, ExceptedEntry],
    algorithm: str,
    variant: str,
    doubt: Doubt | None,
    entry: str,
    category: str,
    distance: int | None,
    *,
    confirmed: bool,
) -> Match:
    """Return the match with an entry that a service has named.

    Args:
        confirmed: True if a second decoder has confirmed the picture's digests.
    """
    known = ALGORITHMS[algorithm]
    threshold = 0 if known.metric == "exact" else max(known.threshold, distance or 0)
    if not service.settings.acts:
        doubt = Doubt.SERVICE
    elif known.of_picture and not confirmed:
        doubt = Doubt.SERVICE_UNCONFIRMED
    return Match(
        service.name,
        entry,
        algorithm,
        category,
        threshold if distance is None else distance,
        threshold,
        variant=variant,
        doubt=doubt,
        excepted=excepted.get(entry),
    )
