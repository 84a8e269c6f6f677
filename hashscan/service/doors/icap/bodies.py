"""Check one HTTP body: as a whole, and each file of a form.

A form that programs may divide differently, an encoded body and a part of a larger file are checked as they
are, but are never clean: the engine makes them `undecoded`, which the door's settings answer.
"""

from __future__ import annotations

import asyncio

from hashscan.locking import ClosedOnExit
from hashscan.model import Reason
from hashscan.service.doors.icap.forms import FILES_MAX, Form
from hashscan.service.doors.icap.http_heads import BodyFacts
from hashscan.service.doors.multipart import (
    SNIFF_BYTES,
    MultipartError,
    TooManyPartsError,
    any_boundary_of,
    looks_like_form,
)
from hashscan.service.engine.contents import Content, Receiving
from hashscan.service.engine.engine import Engine
from hashscan.service.engine.uploads import Answer, Client, Outcome, Upload
from hashscan.settings.service import DoorSettings

CHECKS_MAX = 4
"""Files of one form that are checked at the same time."""
WAITING_MAX = 32
"""Files of one form that wait to be checked; then no more of the form is read."""


class Body(ClosedOnExit):
    """One HTTP body: it arrives, is checked, and may be read again to be sent back."""

    def __init__(self, engine: Engine, settings: DoorSettings, client: Client, facts: BodyFacts) -> None:
        """Begin to receive a body of the client with the owner of this request; the facts are what the head
        announces."""
        self.content: Content | None = None
        """The body as it came, once it is checked, if it is kept."""
        self._engine = engine
        self._settings = settings
        self._client = client
        self._facts = facts
        self.doubt = facts.doubt
        """The reason why the body can't be checked as it will be used."""
        self._begin = b""
        self._form: Form | None = None
        self._files = 0
        self._slots = asyncio.Semaphore(CHECKS_MAX)
        self._checks: list[asyncio.Task[Answer]] = []
        self._waiting: set[asyncio.Task[Answer]] = set()
        """The checks that have not ended."""
        self._whole = engine.receive(facts.length or 0)
        # Even if the head says that it is encoded: some programs don't decode it.
        self._begin_form(facts.content_type)

    def close(self) -> None:
        """Give up what is not complete, and drop the content."""
        for check in self._checks:
            check.cancel()
        if self._form is not None:
            self._form.close()
        self._whole.close()
        if self.content is not None:
            self.content.close()

    async def write(self, data: bytes) -> None:
        """Append bytes."""
        self._whole.write(data)
        if len(self._begin) < SNIFF_BYTES:
            self._begin += data[:SNIFF_BYTES]
        if self._form is not None:
            for _ in self._form.feed(data):
                if len(self._waiting) > WAITING_MAX:
                    await asyncio.wait(self._waiting, return_when=asyncio.FIRST_COMPLETED)

    async def check(self, *, keep: bool) -> list[Answer]:
        """Return the answers about the body as a whole, then about the files of a form; with `keep`, the body
        is `content` from now on, to be sent back. Raise Overloaded or Unchecked if a part could not be
        checked, and nothing is refused."""
        if self._form is not None:
            self._form.finish()
            if not self._form.is_certain:
                self.doubt = Reason.AMBIGUOUS
        elif not self._facts.of_response and looks_like_form(self._begin):
            self.doubt = Reason.AMBIGUOUS
        if self._facts.length not in {None, self._whole.size}:
            self.doubt = (self.doubt or Reason.PARTIAL) if self._facts.of_response else Reason.AMBIGUOUS
        if self._whole.size:
            content = self._whole.finish()
            if keep:
                self.content = content
            upload = Upload(self._client, self._facts.name)
            taken_apart = self._form is not None and self.doubt is None
            whole = self._start(content, upload, taken_apart=taken_apart, keep=keep, unchecked=self.doubt)
            self._checks.insert(0, whole)
        found = await asyncio.gather(*self._checks, return_exceptions=True)
        answers = [answer for answer in found if isinstance(answer, Answer)]
        errors = [error for error in found if isinstance(error, BaseException)]
        if errors and not any(answer.outcome is Outcome.REFUSE for answer in answers):
            raise errors[0]
        return answers

    def _begin_form(self, content_type: str) -> None:
        try:
            boundary = any_boundary_of(content_type)
        except MultipartError:
            self.doubt = Reason.AMBIGUOUS
        else:
            if boundary is not None:
                self._form = Form(boundary, self._receive_file, self._check_file)

    def _receive_file(self) -> Receiving:
        if self._files == FILES_MAX:
            raise TooManyPartsError("the form has too many files")
        self._files += 1
        return self._engine.receive()

    def _check_file(self, receiving: Receiving, name: bytes, taken_apart: bool) -> None:
        with receiving:
            if receiving.size:
                self._checks.append(
                    self._start(receiving.finish(), Upload(self._client, name), taken_apart=taken_apart)
                )

    def _start(
        self,
        content: Content,
        upload: Upload,
        *,
        taken_apart: bool,
        keep: bool = False,
        unchecked: Reason | None = None,
    ) -> asyncio.Task[Answer]:
        """Start a check that waits for its turn; its content is closed even if it is cancelled before."""

        async def check() -> Answer:
            async with self._slots:
                return await self._engine.check(
                    content,
                    upload,
                    self._settings,
                    unchecked=unchecked,
                    taken_apart=taken_apart,
                    keep=keep,
                )

        def end(ended: asyncio.Task[Answer]) -> None:
            self._waiting.discard(ended)
            if not ended.cancelled():
                ended.exception()  # so that asyncio does not log it
            if not keep:
                content.close()

        task = asyncio.create_task(check())
        self._waiting.add(task)
        task.add_done_callback(end)
        return task
