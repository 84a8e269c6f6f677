"""What one worker does with a batch: read each file once, digest it, match the digests, judge.

The same object serves in the sweeping process, in a process of a pool and on a node of a cluster.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from types import TracebackType

from hashscan.hashing.exact import ExactReader
from hashscan.hashing.formats import PREFIX_SIZE, PictureFormat, advice, sniff
from hashscan.hashing.records import REPLY_MAX, DecodedPicture, pack_request, unpack_reply
from hashscan.hashing.variants import PictureDigest
from hashscan.model import (
    ALGORITHMS,
    Batch,
    BatchResult,
    Digest,
    FileResult,
    Item,
    Match,
    Picture,
    Reason,
    VariantDigest,
    Verdict,
)
from hashscan.registry import EXACT_HASHES, PICTURE_HASHES, SOURCES
from hashscan.sandbox.client import DecoderLost, Plugin, Sandbox
from hashscan.scan.answers import Answers
from hashscan.scan.matcher import Matcher, Query, closest_of_each
from hashscan.scan.policy import closeness, judge, only_test
from hashscan.scan.setup import AUGMENTATIONS, WorkerSetup
from hashscan.sources.base import FileTrouble, Opener, OpenFile, OpenFolder, Spend, unlimited

MATCHES_KEPT = 32
"""A list may hold thousands of copies of one hash; a finding names the closest."""


@dataclass(slots=True)
class _Checked:
    """One file under way: what is known of it before it is judged."""

    item: Item
    opened: OpenFile | None = None
    kind: PictureFormat | None = None
    exact: dict[str, bytes] = field(default_factory=dict)
    """Digests of its bytes, by algorithm."""
    digests: dict[str, Digest] = field(default_factory=dict)
    """Of the picture as it is stored, by algorithm."""
    variants: tuple[PictureDigest, ...] = ()
    """Of the picture, as it is stored and otherwise."""
    picture: Picture | None = None
    reply: bytes = b""
    """What a decoder said of it and may say of equal content, once checked."""
    reason: Reason | None = None
    detail: str = ""
    unreadable: bool = False
    matches: list[Match] = field(default_factory=list)
    bytes_read: int = 0

    def fail(self, trouble: FileTrouble) -> None:
        """Its bytes can't be relied on: forget what was computed."""
        self.unreadable, self.reason, self.detail = True, trouble.reason, trouble.detail
        self.exact = {}
        self.digests.clear()
        self.variants = ()
        self.matches.clear()
        self.close()

    def queries(self, name: str) -> list[Query]:
        """What the lists are to be asked about it, by one algorithm."""
        algorithm = ALGORITHMS[name]
        if not algorithm.of_picture:
            return [Query(self.exact[name])] if name in self.exact else []
        least = algorithm.min_quality
        return [
            Query(variant.value, variant)
            for variant in self.variants
            if variant.algorithm == name and variant.quality >= least
        ]

    def close(self) -> None:
        """Let the file go."""
        if self.opened is not None:
            self.opened.close()
            self.opened = None


class Worker:
    """Checks batches; holds the index and the sandbox."""

    def __init__(self, setup: WorkerSetup, answers: Answers | None = None) -> None:
        """Map the lists and start the sandbox.

        Args:
            setup: what to do.
            answers: shared with the sweep's other workers; closed with the worker. Without any, it has
                a table of its own.
        """
        self.setup = setup
        self.answers = Answers() if answers is None else answers
        self.matcher = Matcher(setup.lists, setup.review_threshold, setup.excepted)
        self._openers: dict[str, Opener] = {}
        self._spend: Spend = unlimited
        self._ask: Callable[[int], None] | None = None
        self._reader = ExactReader([EXACT_HASHES[name]() for name in setup.exact])
        self._pictures = setup.pictures
        arguments = tuple(PICTURE_HASHES.rows[name].target for name in self._pictures)
        plugin = Plugin(
            setup.decoder,
            (
                *arguments,
                f"max-pixels={setup.max_pixels}",
                # So that it answers with what it has, long before it would be ended.
                f"seconds={setup.sandbox.seconds / 2:g}",
                f"variants={','.join(setup.variants)}",
                *(("augment=crop",) if "crop" in setup.augment else ()),
            ),
            REPLY_MAX,
        )
        self.sandbox = Sandbox(plugin, setup.sandbox)

    def keep_pace(self, spend: Spend) -> None:
        """Ask before files are opened and bytes are read from now on; to be said before the first batch."""
        self._spend = spend
        self._ask = partial(spend, 0)

    def check(self, batch: Batch) -> BatchResult:
        """Check every file of a batch.

        Returns:
            One result for each item, in the batch's order.
        """
        if self.setup.sandbox.mode == "required":
            # To be refused before the first file, not at the first picture.
            self.sandbox.start()
        try:
            with self._opener(batch.source).reopen(batch) as folder:
                files = self._read_all(folder, batch.items)
                try:
                    self._match(files)
                    for file in files:
                        if any(ALGORITHMS[m.algorithm].of_picture for m in file.matches):
                            self._confirm(file)
                finally:
                    for file in files:
                        file.close()
        except FileTrouble as trouble:
            files = [_Checked(item) for item in batch.items]
            for file in files:
                file.fail(trouble)
        return BatchResult(
            results=tuple(self._result(file) for file in files),
            bytes_read=sum(file.bytes_read for file in files),
            sandbox=self.sandbox.level,
        )

    def _opener(self, source: str) -> Opener:
        if source not in self._openers:
            self._openers[source] = SOURCES[source].opener(self.setup.access, self._spend)
        return self._openers[source]

    def _read_all(self, folder: OpenFolder, items: Sequence[Item]) -> list[_Checked]:
        """Read the files owner by owner, since a decoder serves one owner only."""
        files = [_Checked(item) for item in items]
        ordered = sorted(files, key=lambda f: f.item.stat.uid)
        folder.announce([file.item for file in ordered])
        for file in ordered:
            try:
                file.opened = folder.open(file.item)
                if file.item.stat.size < 0:
                    # Not every web server says beforehand how large an object is.
                    file.item = replace(file.item, stat=file.opened.stat)
                self._read(file, file.opened)
            except FileTrouble as trouble:
                file.fail(trouble)
            if file.kind is None:
                # Only pictures may have to be decoded again to confirm a match.
                file.close()
        return files

    def _read(self, file: _Checked, opened: OpenFile) -> None:
        try:
            if opened.content is None:
                first = self._reader.begin(
                    opened.descriptor, opened.stat.size, None if opened.fetched else self._ask
                )
            else:
                first = self._reader.begin_content(opened.content)
            file.kind = sniff(first)
            decoding = file.kind is not None and file.kind.pillow is not None and bool(self._pictures)
            # Decoding goes on while we digest; but where the digest may spare it, the digest comes first.
            waiting = decoding and self._met(opened, first)
            if decoding and not waiting:
                self._begin(file, opened)
            try:
                exact, file.bytes_read = self._reader.finish()
            finally:
                # Whatever became of the bytes, an answer is owed and must not be taken for the next file's.
                if decoding and not waiting:
                    self._finish(file)
            sha256 = exact.get("sha256")
            if waiting and not self._recall(file, opened, sha256):
                self._begin(file, opened)
                self._finish(file)
        except OSError as error:
            raise FileTrouble(Reason.IO_ERROR, error.strerror or str(error)) from error
        if file.kind is not None and file.kind.pillow is None:
            file.reason, file.detail = Reason.UNSUPPORTED, file.kind.name
        opened.check_unchanged()
        file.exact = exact
        if file.reply and sha256 is not None:
            self.answers.keep(opened.stat.uid, sha256, file.reply)

    def _met(self, opened: OpenFile, first: memoryview) -> bool:
        """Whether a picture of this owner with this size, beginning and end was met before."""
        size = opened.stat.size
        if size <= len(first):
            last = bytes(first[-PREFIX_SIZE:])
        else:
            last = os.pread(opened.descriptor, PREFIX_SIZE, size - PREFIX_SIZE)
        return self.answers.met(b"%d %d " % (opened.stat.uid, size) + first[:PREFIX_SIZE] + last)

    def _recall(self, file: _Checked, opened: OpenFile, sha256: bytes | None) -> bool:
        """Take the answer that was kept for the same content of the same owner, if there is one."""
        if sha256 is None:
            return False
        reply = self.answers.recall(opened.stat.uid, sha256)
        # It was found to make sense before it was kept.
        return reply is not None and self._take(file, reply)

    def _begin(self, file: _Checked, opened: OpenFile, *, fresh: bool = False) -> None:
        assert file.kind is not None
        # The second must come as far as the first, or it couldn't confirm what was found in the last frame.
        request = pack_request(file.kind, patient=fresh)
        self.sandbox.begin(opened.descriptor, request, opened.stat.uid, fresh=fresh)

    def _finish(self, file: _Checked) -> None:
        """Take the decoder's answer; a taken-over decoder may say anything that fits the form."""
        try:
            reply = self.sandbox.finish()
        except DecoderLost as lost:
            file.reason, file.detail = lost.reason, lost.detail
            return
        if not self._take(file, reply):
            self.sandbox.discard()
        elif file.reason not in {Reason.MEMORY, Reason.TIMEOUT}:
            # Those hang on what else the machine is doing; everything else follows from the content.
            file.reply = reply

    def _take(self, file: _Checked, reply: bytes) -> bool:
        """Check a reply and put it down; False where it makes no sense, which is put down too."""
        assert file.kind is not None
        try:
            answer = unpack_reply(reply, file.kind, self._pictures)
        except ValueError as error:
            file.reason, file.detail = Reason.DECODER_DIED, f"{error}"
            return False
        if isinstance(answer, DecodedPicture):
            file.picture = answer.picture
            file.digests.update(answer.stored(self._pictures))
            file.variants = answer.digests
            if answer.damage is not None:
                file.reason = answer.damage
                file.detail = f"{file.kind.name}, matched by what was decoded of it"
                if answer.left_out:
                    file.detail += f"; {answer.left_out} digests beyond the limit were not matched"
        else:
            file.reason, file.detail = answer, file.kind.name
            if answer is Reason.UNSUPPORTED:
                file.detail += advice(file.kind)
        return True

    def _match(self, files: Sequence[_Checked]) -> None:
        """Ask the index for all files at once, algorithm by algorithm."""
        for name in self.setup.algorithms:
            if name not in self.matcher.algorithms:
                continue
            asking = [(file, query) for file in files for query in file.queries(name)]
            for row, match in self.matcher.ask(name, [query for _, query in asking]):
                asking[row][0].matches.append(match)
        for file in files:
            if file.matches:
                file.matches = sorted(closest_of_each(file.matches), key=closeness)

    def _confirm(self, file: _Checked) -> None:
        """Decode a matching picture again with a fresh decoder, before it is accused.

        The first decoder has met other pictures of the same owner: one that took it over could make it say
        of an innocent one whatever it likes.
        """
        assert file.opened is not None
        exact = [m for m in file.matches if not ALGORITHMS[m.algorithm].of_picture]
        before = [m for m in file.matches if ALGORITHMS[m.algorithm].of_picture]
        again = _Checked(file.item, kind=file.kind)
        try:
            self._begin(again, file.opened, fresh=True)
            self._finish(again)
            file.opened.check_unchanged()
        except FileTrouble as trouble:
            file.fail(trouble)
            return
        if again.reply and "sha256" in file.exact:
            # In the place of the first one's answer, which it may contradict.
            self.answers.keep(file.opened.stat.uid, file.exact["sha256"], again.reply)
        self._match([again])
        if again.matches:
            file.matches = sorted(exact + again.matches, key=closeness)
            file.digests.update(again.digests)
            file.variants = again.variants
            return
        file.matches = exact
        file.reason = again.reason or Reason.UNCONFIRMED
        file.detail = f"a match with entry {before[0].entry_id} was not confirmed by a second decoder"

    def _result(self, file: _Checked) -> FileResult:
        stat = file.item.stat
        if file.unreadable:
            # Not every store says in a listing what it won't let be read.
            archived = file.reason is Reason.ARCHIVED
            verdict = Verdict.SKIPPED if archived else Verdict.UNREADABLE
            return FileResult(file.item.name, stat, verdict, reason=file.reason, detail=file.detail)
        verdict, because = judge(file.matches, file.reason)
        pdq = file.digests.get("pdq")
        result = FileResult(
            file.item.name,
            stat,
            verdict,
            reason=file.reason,
            detail=file.detail,
            because=because,
            only_test=only_test(file.matches),
            low_quality=pdq is not None and (pdq.quality or 0) < ALGORITHMS["pdq"].min_quality,
        )
        if verdict is Verdict.CLEAN and not self.setup.with_digests:
            return result
        digests = {name: Digest(name, value) for name, value in file.exact.items()} | file.digests
        return replace(
            result,
            matches=tuple(file.matches[:MATCHES_KEPT]) if because else (),
            digests=tuple(digests[name] for name in self.setup.algorithms if name in digests),
            picture=file.picture,
            augmented=tuple(self._augmented(file)) if self.setup.augment else (),
        )

    def _augmented(self, file: _Checked) -> Iterator[VariantDigest]:
        kinds = frozenset().union(*(AUGMENTATIONS[name] for name in self.setup.augment))
        for found in file.variants:
            if found.part.kind in kinds and not found.rendering and not found.turn:
                digest = Digest(found.algorithm, found.value, found.quality)
                yield VariantDigest(found.part.words, digest)

    def close(self) -> None:
        """End the sandbox, and let connections go."""
        for opener in self._openers.values():
            opener.close()
        self.sandbox.close()
        self.answers.close()

    def __enter__(self) -> Worker:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
