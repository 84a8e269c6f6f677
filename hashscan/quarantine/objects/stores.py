"""Open the stores (buckets) in which objects were found or copies are kept, and retry busy ones."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from typing import TypeVar

from hashscan.errors import HashscanError, UsageError
from hashscan.model import Access, Reason
from hashscan.quarantine.captured_file import Outcome, QuarantineSkipped
from hashscan.sources.base import FileError, Source, strip_secrets
from hashscan.sources.evidence import FOLDER_NAME
from hashscan.sources.objects.changeable import make_changeable
from hashscan.sources.objects.changing import ChangeableStore
from hashscan.sources.objects.source import ObjectSource
from hashscan.sources.objects.store import RetryableError
from hashscan.sources.objects.tries import Tries

T = TypeVar("T")

_OUTCOMES = {
    Reason.VANISHED: Outcome.GONE,
    Reason.REPLACED: Outcome.RACED,
    Reason.CHANGED: Outcome.RACED,
}


class Stores:
    """The open stores, one for each container and service, each with the provider's own credentials."""

    def __init__(
        self,
        sources: Mapping[str, type[Source]],
        endpoint: str | None = None,
        place: str | None = None,
    ) -> None:
        """Check the arguments; open no store yet.

        Args:
            sources: source classes by URL scheme.
            endpoint: endpoint of the service that holds the objects; None for the provider's default.
            place: URL of a bucket, or of a prefix in one, beneath which copies are kept; None for a folder of
                this machine.

        Raises:
            UsageError: the place is invalid, or the endpoint holds a secret.
        """
        if endpoint is not None and set("@?#") & set(endpoint):
            # The endpoint is written to the log.
            raise UsageError(
                "--endpoint must hold no credentials", advice="Give them by the provider's own variables."
            )
        self._sources = sources
        self.endpoint = endpoint
        self._open: dict[tuple[bytes, str | None], ChangeableStore] = {}
        self.place: bytes | None = None
        """URL under which copies are kept, without a slash at its end."""
        if place is not None:
            try:
                source, container, prefix = self._parsed(place.encode())
            except (QuarantineSkipped, HashscanError) as error:
                raise UsageError(
                    f"evidence can't be kept there: {error}",
                    advice="Name a bucket: --quarantine-dir s3://BUCKET/PREFIX.",
                ) from error
            above = prefix.strip(b"/")
            self.place = source.url(container, above + b"/" + FOLDER_NAME if above else FOLDER_NAME)

    def at(self, url: bytes, endpoint: str | None) -> tuple[ChangeableStore, bytes]:
        """Return the store of an object, and the object's key.

        Raises:
            QuarantineSkipped: the store can't be opened: credentials are missing, or it is read-only.
        """
        source, container, key = self._parsed(url)
        name = (source.url(container), endpoint)
        if name not in self._open:
            try:
                self._open[name] = make_changeable(source.name, container, Access(endpoint=endpoint))
            except HashscanError as error:
                raise QuarantineSkipped(Outcome.REFUSED, f"{error}. {error.advice}") from error
        return self._open[name], key

    def container_of(self, url: bytes) -> bytes:
        """Return the URL of the container of an object.

        Raises:
            QuarantineSkipped: the URL has none.
        """
        source, container, _ = self._parsed(url)
        return source.url(container)

    def keep_apart(self, urls: Iterable[bytes]) -> None:
        """Check that no URL lies in the container in which copies are kept.

        Raises:
            UsageError: one does; a person who can write there could reach the evidence.
        """
        if self.place is None:
            return
        own = self.container_of(self.place)
        for url in urls:
            with suppress(QuarantineSkipped):  # nothing can be moved from there in any case
                if self.container_of(url) == own:
                    raise UsageError(
                        f"evidence must lie in another bucket than what is found in {own.decode()}",
                        advice="Name a bucket with --quarantine-dir that nobody but you can reach.",
                    )

    def _parsed(self, url: bytes) -> tuple[type[ObjectSource], str, bytes]:
        scheme = url.partition(b"://")[0].decode("ascii", errors="replace").lower()
        source = self._sources.get(scheme)
        if source is None or not issubclass(source, ObjectSource):
            shown = strip_secrets(url).decode(errors="replace")
            raise QuarantineSkipped(
                Outcome.REFUSED,
                f"what lies at {shown.partition('://')[0]}:// can't be moved: take it down on its server",
            )
        try:
            found = source.parse(url)
        except HashscanError as error:
            raise QuarantineSkipped(Outcome.REFUSED, str(error)) from error
        return source, found.container, found.prefix

    def close(self) -> None:
        """Close all stores."""
        for store in self._open.values():
            store.close()
        self._open.clear()


def call_with_retries(call: Callable[[], T]) -> T:
    """Call a store, and retry while it is busy.

    Raises:
        QuarantineSkipped: the call failed.
    """
    tries = Tries(time.sleep)
    try:
        while True:
            try:
                return call()
            except RetryableError as trouble:
                tries.failed(trouble)
    except FileError as trouble:
        raise to_skipped(trouble) from trouble
    except HashscanError as error:
        # An error of credentials, or an unreachable server.
        raise QuarantineSkipped(Outcome.REFUSED, f"{error}. {error.advice}") from error


def to_skipped(trouble: FileError) -> QuarantineSkipped:
    """Convert a store's error to `QuarantineSkipped`."""
    outcome = _OUTCOMES.get(trouble.reason, Outcome.REFUSED)
    return QuarantineSkipped(outcome, f"{trouble.reason.value}{trouble.detail and ': ' + trouble.detail}")
