"""One file while it is checked: what is known of it, and the verdict that follows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

from hashscan.hashing.formats import FORMATS, PictureFormat, advice
from hashscan.hashing.records import DecodedPicture, unpack_reply
from hashscan.hashing.variants import Kind, PictureDigest
from hashscan.model import (
    ALGORITHMS,
    Digest,
    FileResult,
    Item,
    Kept,
    Match,
    Picture,
    Reason,
    VariantDigest,
    Verdict,
)
from hashscan.scan.matcher import Matcher, Query, closest_of_each
from hashscan.scan.policy import closeness, judge, only_test
from hashscan.sources.base import FileTrouble, OpenFile

MATCHES_KEPT = 32
"""A list may hold thousands of copies of one hash; a finding names the closest."""


@dataclass(slots=True)
class Checked:
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
    as_listed: bool = False
    """Whether it was still what had been listed when it was opened."""
    confirmed: bool = False
    """Whether `reply` is that of a fresh decoder, made for this file alone."""
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

    def close(self) -> None:
        """Let the file go."""
        if self.opened is not None:
            self.opened.close()
            self.opened = None

    def take(self, reply: bytes, pictures: Sequence[str]) -> bool:
        """Check a decoder's reply and put it down; False where it makes no sense, which is put down too.

        Args:
            reply: whatever was sent, or kept.
            pictures: the algorithms it was asked for, in that order.
        """
        assert self.kind is not None
        try:
            answer = unpack_reply(reply, self.kind, pictures)
        except ValueError as error:
            self.reason, self.detail = Reason.DECODER_DIED, f"{error}"
            return False
        if isinstance(answer, DecodedPicture):
            self.picture = answer.picture
            self.digests.update(answer.stored(pictures))
            self.variants = answer.digests
            if answer.damage is not None:
                self.reason = answer.damage
                self.detail = f"{self.kind.name}, matched by what was decoded of it"
                if answer.left_out:
                    self.detail += f"; {answer.left_out} digests beyond the limit were not matched"
        else:
            self.reason, self.detail = answer, self.kind.name
            if answer is Reason.UNSUPPORTED:
                self.detail += advice(self.kind)
        return True

    def take_undecodable(self) -> None:
        """Put down that it is a picture of a format that nobody decodes here."""
        assert self.kind is not None
        self.reason, self.detail = Reason.UNSUPPORTED, self.kind.name

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

    def result(
        self, algorithms: Sequence[str], *, with_digests: bool = False, augment: frozenset[Kind] = frozenset()
    ) -> FileResult:
        """The verdict.

        Args:
            algorithms: those whose digests are told, in that order.
            with_digests: tell the digests of clean files, too.
            augment: kinds of pictures whose digests are told besides.
        """
        stat = self.item.stat
        if self.unreadable:
            # Not every store says in a listing what it won't let be read.
            archived = self.reason is Reason.ARCHIVED
            verdict = Verdict.SKIPPED if archived else Verdict.UNREADABLE
            return FileResult(self.item.name, stat, verdict, reason=self.reason, detail=self.detail)
        verdict, because = judge(self.matches, self.reason)
        pdq = self.digests.get("pdq")
        result = FileResult(
            self.item.name,
            stat,
            verdict,
            reason=self.reason,
            detail=self.detail,
            because=because,
            only_test=only_test(self.matches),
            low_quality=pdq is not None and (pdq.quality or 0) < ALGORITHMS["pdq"].min_quality,
        )
        if verdict is Verdict.CLEAN and not with_digests:
            return result
        digests = {name: Digest(name, value) for name, value in self.exact.items()} | self.digests
        return replace(
            result,
            matches=tuple(self.matches[:MATCHES_KEPT]) if because else (),
            digests=tuple(digests[name] for name in algorithms if name in digests),
            picture=self.picture,
            augmented=tuple(self._augmented(augment)) if augment else (),
        )

    def _augmented(self, kinds: frozenset[Kind]) -> Iterator[VariantDigest]:
        for found in self.variants:
            if found.part.kind in kinds and not found.rendering and not found.turn:
                digest = Digest(found.algorithm, found.value, found.quality)
                yield VariantDigest(found.part.words, digest)

    def kept(self, pictures: Sequence[str]) -> Kept | None:
        """What the verdict follows from, to be kept; None where it hangs on more than the content.

        Args:
            pictures: the algorithms that pictures were to be hashed by.
        """
        if self.unreadable or not self.exact or not self.as_listed:
            return None
        decodable = self.kind is not None and self.kind.pillow is not None and bool(pictures)
        if decodable and not self.reply:
            return None
        kind = -1 if self.kind is None else FORMATS.index(self.kind)
        return Kept(tuple(self.exact.values()), kind, self.reply, self.confirmed)


def match_all(matcher: Matcher, algorithms: Sequence[str], files: Sequence[Checked]) -> None:
    """Ask the index for all files at once, algorithm by algorithm."""
    for name in algorithms:
        if name not in matcher.algorithms:
            continue
        asking = [(file, query) for file in files for query in file.queries(name)]
        for row, match in matcher.ask(name, [query for _, query in asking]):
            asking[row][0].matches.append(match)
    for file in files:
        if file.matches:
            file.matches = sorted(closest_of_each(file.matches), key=closeness)
