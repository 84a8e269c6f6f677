"""What every way to tell somebody can do."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar

Document = Mapping[str, Any]


class DeliveryError(Exception):
    """An alarm could not be delivered; the message says why and holds no secret."""


class Channel(ABC):
    """One way to tell somebody."""

    kind: ClassVar[str]
    """An alarm that is kept waits for all channels of a kind that there are when it is sent."""

    def __init__(self, name: str, secret: str) -> None:
        """Take its names.

        Args:
            name: what a person may see of it.
            secret: what tells it from all others of its kind, and is nowhere written or shown.
        """
        mark = hashlib.sha256(secret.encode("utf-8", "surrogateescape")).hexdigest()[:8]
        self.id = f"{self.kind}:{mark}"
        self.label = f"{name} ({mark})" if secret else name

    def check(self) -> None:
        """Make sure that it can be used; nothing is sent.

        Raises:
            UsageError: it can't.
        """
        return

    @abstractmethod
    def deliver(self, document: Document, seconds: float) -> None:
        """Tell.

        Args:
            document: see `Alarm.document`.
            seconds: how long it may take.

        Raises:
            DeliveryError: nobody was told, as far as is known.
        """
