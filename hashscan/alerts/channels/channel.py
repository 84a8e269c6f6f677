"""The interface of notification channels."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar

Document = Mapping[str, Any]


class DeliveryError(Exception):
    """An alert could not be delivered; the message says why and contains no secret."""


class Channel(ABC):
    """A channel that delivers alerts."""

    kind: ClassVar[str]
    """The kind of channel; a stored alert waits for all channels of its kind that exist when it is sent."""

    def __init__(self, name: str, secret: str) -> None:
        """Set the channel's names.

        Args:
            name: the public part of the name.
            secret: distinguishes it from all others of its kind; never written or shown.
        """
        mark = hashlib.sha256(secret.encode("utf-8", "surrogateescape")).hexdigest()[:8]
        self.id = f"{self.kind}:{mark}"
        self.label = f"{name} ({mark})" if secret else name

    def check(self) -> None:
        """Check that the channel can be used; nothing is sent.

        Raises:
            UsageError: it can't be used.
        """
        return

    @abstractmethod
    def deliver(self, document: Document, seconds: float) -> None:
        """Deliver one alert.

        Args:
            document: see `Alert.document`.
            seconds: the time limit.

        Raises:
            DeliveryError: the alert was not delivered, as far as is known.
        """
