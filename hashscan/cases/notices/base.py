"""The notice record and the base class of notice formats."""

from __future__ import annotations

import hashlib
import json
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import BinaryIO, ClassVar

from hashscan.errors import UsageError


@dataclass(frozen=True, slots=True)
class Notice:
    """A request of somebody to remove one file. All values are the sender's claims and may be false.

    It has a URL, a path or a digest.
    """

    reference: str
    """The sender's own reference; empty if there is none."""
    sender: str
    """The finder: an e-mail address or the name of an organisation; empty if none is named."""
    url: str = ""
    """URL at which it was seen, with its scheme."""
    path: bytes = b""
    """Location, if the sender knows it: an absolute path or the URL of an object."""
    received: datetime | None = None
    """Time of receipt, if stated; timezone-aware. It may be in the future, where no deadline may begin."""
    deadline: datetime | None = None
    """Deadline for the removal; timezone-aware."""
    category: str = ""
    """One of hashscan's categories; empty if the sender names none."""
    digests: tuple[tuple[str, str], ...] = ()
    """Algorithm and value in lower-case hex, ordered by algorithm name."""

    @property
    def key(self) -> str:
        """Key that is equal for two notices of the same thing by the same sender; 32 hex digits."""
        parts = [
            self.sender.casefold(),
            self.reference,
            self.url,
            self.path.hex(),
            [] if self.reference else self.digests,
        ]
        return hashlib.sha256(json.dumps(parts).encode("ascii")).hexdigest()[:32]


class NoticeError(UsageError):
    """An error for a malformed file of notices."""

    advice = "Mend the file and import it again; what is known already makes no second case."


class NoticeFormat(ABC):
    """A format of notices; their senders may be malicious."""

    name: ClassVar[str]

    def __init__(self) -> None:
        self.passed_over: Counter[str] = Counter()
        """Number of skipped records by reason; complete when `notices` has ended."""

    @abstractmethod
    def notices(self, stream: BinaryIO, label: str) -> Iterator[Notice]:
        """Parse a file, in bounded memory.

        Args:
            stream: the file, open for reading bytes; it need not be seekable.
            label: name of the file for error messages.

        Raises:
            NoticeError: the file is malformed; says where, what is wrong, how to correct it. The notices that
            were
                yielded before are valid.
            OSError: the file can't be read.
        """
