"""Check uploads: workers with index and sandbox as a scan has them, fed by the doors.

The engine belongs to one asyncio loop. Doors call it from that loop only.
"""

from __future__ import annotations

from collections.abc import Sequence

from hashscan.model import ListInfo, Match, Reason
from hashscan.service.engine.contents import Content, Receiving
from hashscan.service.recorder import Recorder
from hashscan.service.uploads import Answer, Client, Upload
from hashscan.settings.service import DoorSettings, ServeSettings


class Engine:
    """The checker of uploads and digests."""

    version: str
    """A text of `[0-9a-f]{16}` that changes with the lists, exceptions and policy in use."""
    infos: tuple[ListInfo, ...]
    """The lists in use."""

    def __init__(self, settings: ServeSettings, recorder: Recorder | None = None) -> None:
        """Make an engine; without a recorder, its checks are recorded nowhere."""

    async def start(self) -> None:
        """Open the lists and start the workers; return when the first worker is ready.

        Raises:
            NoUsableListError, SandboxError, ZygoteError, WorkersError, OutputError: see `hashscan scan`.
        """
        raise NotImplementedError

    def receive(self, size: int = 0) -> Receiving:
        """Begin to receive an upload.

        Args:
            size: bytes that the client has announced; 0 if it has announced none.

        Raises:
            TooLarge: it has announced too many.
            Overloaded: too many bytes or uploads are in flight.
        """
        raise NotImplementedError

    def passed(self, descriptor: int) -> Content:
        """Take over a descriptor that a client passed, with an offset of our own; it is closed in any case.

        Raises:
            UnusableDescriptor: it is no regular file, or not open for reading.
            TooLarge, Overloaded: as for `receive`.
        """
        raise NotImplementedError

    async def check(
        self,
        content: Content,
        upload: Upload,
        door: DoorSettings,
        *,
        unchecked: Reason | None = None,
        keep: bool = False,
    ) -> Answer:
        """Check one upload; a refused one has its case before this returns.

        If the caller is cancelled, the work is given up.

        Args:
            content: it is closed in any case, unless it is kept.
            upload: its description.
            door: the settings of the door that asks.
            unchecked: the reason why the content may show more than is checked here, such as a form that
                could not be taken apart; with it, `undecoded` takes the place of `clean`.
            keep: True if the caller closes the content, since he has to send it back.

        Raises:
            Overloaded: the queue is full, or the upload has waited too long.
            Unchecked: it could not be checked.
        """
        raise NotImplementedError

    async def match(self, digests: Sequence[tuple[str, bytes]], client: Client) -> list[list[Match]]:
        """Return the matches of each digest, closest first; exceptions are in `Match.excepted`."""
        raise NotImplementedError

    async def reload(self) -> bool:
        """Use the lists, exceptions and policy as they are now; return True if any has changed.

        Requests in progress are answered by the lists they began with. If the new state can't be used, the
        old one stays, and the reason is logged.
        """
        raise NotImplementedError

    async def close(self) -> None:
        """Stop the workers; checks in progress raise Unchecked."""
        raise NotImplementedError
