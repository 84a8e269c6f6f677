"""What every form of notice is read into."""

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
    """One thing that somebody wants to be gone. All of it is as the sender has it, and so may be false.

    It has a URL, a path or a digest.
    """

    reference: str
    """The sender's own name for it; empty where it has none."""
    sender: str
    """Who found it: an e-mail address or the name of an organisation; empty where nobody is named."""
    url: str = ""
    """Where it was seen, with its scheme."""
    path: bytes = b""
    """Where it lies, for those who tell that: an absolute path or the URL of an object."""
    received: datetime | None = None
    """When it came, as far as that is said; aware. It may lie in the future, where no clock may begin."""
    deadline: datetime | None = None
    """Until when it must be gone; aware."""
    category: str = ""
    """One of hashscan's categories; empty where the sender has named none."""
    digests: tuple[tuple[str, str], ...] = ()
    """Algorithm and value in lower-case hex, in the order of the algorithms' names."""

    @property
    def key(self) -> str:
        """Equal for two notices of the same thing by the same sender; 32 hex digits."""
        parts = [
            self.sender.casefold(),
            self.reference,
            self.url,
            self.path.hex(),
            [] if self.reference else self.digests,
        ]
        return hashlib.sha256(json.dumps(parts).encode("ascii")).hexdigest()[:32]


class NoticeError(UsageError):
    """A file of notices is not what it should be."""

    advice = "Mend the file and import it again; what is known already makes no second case."


class NoticeFormat(ABC):
    """One way in which notices come; whoever sends them may wish us ill."""

    name: ClassVar[str]

    def __init__(self) -> None:
        self.passed_over: Counter[str] = Counter()
        """How many records were no notices for us, by reason; complete when `notices` has ended."""

    @abstractmethod
    def notices(self, stream: BinaryIO, label: str) -> Iterator[Notice]:
        """Take a file apart, in bounded memory.

        Args:
            stream: the file, open for reading bytes; it need not be seekable.
            label: what to call it in an error.

        Raises:
            NoticeError: it is not what it should be; says where, what is wrong, how to mend it. Notices that
                came before are good all the same.
            OSError: it can't be read.
        """
