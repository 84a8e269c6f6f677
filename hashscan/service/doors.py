"""The base of all doors: listening sockets, who may connect, limits of connections, and their end."""

from __future__ import annotations

import asyncio
import socket
from abc import ABC, abstractmethod
from typing import ClassVar

from hashscan.service.engine.engine import Engine
from hashscan.service.uploads import Client
from hashscan.settings.service import DoorSettings


class Door(ABC):
    """One place where clients connect."""

    protocol: ClassVar[str]

    def __init__(self, engine: Engine, settings: DoorSettings) -> None:
        self.engine = engine
        self.settings = settings

    @abstractmethod
    async def open(self, inherited: socket.socket | None = None) -> None:
        """Listen; at the socket that the service manager has opened, if one is given.

        Raises:
            UsageError: the address can't be used, or may not without an allowed network.
        """

    @abstractmethod
    async def close(self, seconds: float) -> None:
        """Accept no more connections, let requests in progress end, and close all after `seconds`."""


class StreamDoor(Door):
    """A door whose protocol is served from an asyncio stream, one task for each connection.

    Connections beyond `connections_max`, and those from networks that are not allowed, are answered by
    `refusal` and closed at once.
    """

    @abstractmethod
    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, client: Client) -> None:
        """Serve one connection until it ends; cancelled when the client leaves, closed by the caller."""

    @abstractmethod
    def refusal(self, reason: str) -> bytes:
        """Return the bytes that tell a client that it can't be served now."""
