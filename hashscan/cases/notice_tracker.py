"""Create and update cases from notices."""

from __future__ import annotations

from dataclasses import dataclass

from hashscan.cases.tracker import CASE_QUERY, NOTICE, CaseLocation, CaseTracker, KnownCase


@dataclass(frozen=True, slots=True)
class StoredNotice:
    """The values of one notice that are stored."""

    digest: bytes
    """Digest of the notice and the path."""
    notice: bytes
    """Digest of the notice alone."""
    received: int
    imported: int
    """Time of the import; seconds since 1970."""
    sender: str = ""
    reference: str = ""
    stated: int | None = None
    categories: str = ""
    sha256: bytes | None = None
    customer: str = ""


class NoticeTracker(CaseTracker):
    """The cases, with the methods to import notices."""

    def take_notice(self, place: CaseLocation, said: StoredNotice) -> tuple[int, bool]:
        """Store a notice in its case; create the case if there is none.

        Returns:
            The number of its case, and True if the notice is new; a notice that was imported before changes
            nothing.
        """
        row = self._one("SELECT id FROM notices WHERE digest=?", said.digest)
        if row is not None:
            return int(row[0]), False
        if place.path is not None and place.url:
            self._place_unmapped(place, said.imported)
        case = self._case_of_notice(place, said) or self._begin(
            place, NOTICE, said.received, "noticed", said.sender
        )
        self._database.execute(
            "INSERT INTO notices VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (said.digest, said.notice, case.id, said.received, said.imported, said.sender, said.reference,
             place.url, said.stated),
        )  # fmt: skip
        self._database.execute(
            "UPDATE cases SET found=min(found, ?1), "
            "began=iif(noticed IS NULL AND verdict IN ('held', 'review'), ?1, min(began, ?1)), "
            "noticed=min(coalesce(noticed, ?1), ?1), "
            "stated=coalesce(min(stated, ?2), ?2, stated), "
            "url=CASE url WHEN '' THEN ?3 ELSE url END, "
            "claimed=CASE WHEN instr(' ' || claimed || ' ', ' ' || ?4 || ' ') THEN claimed "
            "ELSE trim(claimed || ' ' || ?4) END, sha256=coalesce(sha256, ?5), "
            "customer=CASE customer WHEN '' THEN ?6 ELSE customer END WHERE id=?7",
            (
                said.received,
                said.stated,
                place.url,
                said.categories,
                said.sha256,
                said.customer,
                case.id,
            ),
        )
        return case.id, True

    def _place_unmapped(self, place: CaseLocation, now: int) -> None:
        """Set the path of the open case of a URL, now that the file of the URL is known."""
        row = self._one(
            "SELECT id FROM cases WHERE path IS NULL AND url<>'' AND url=? AND removed IS NULL "
            "AND closed IS NULL",
            place.url,
        )
        if row is None:
            return
        other = self._open_of(place.path, place.version)
        if other is None:
            self._database.execute("UPDATE cases SET path=? WHERE id=?", (place.path, row[0]))
            return
        words = f"goes on as case {other.id}"
        self._database.execute("UPDATE cases SET closed=?, why=? WHERE id=?", (now, words, row[0]))
        self.add_event(row[0], now, "closed", words)

    def _case_of_notice(self, place: CaseLocation, said: StoredNotice) -> KnownCase | None:
        """Return the case of a notice: an open one, or one whose file was removed after the notice was sent.

        A notice names no machine: if several cases have its path, open ones of this machine come first.
        """
        if place.path is not None:
            parameters: list[object]
            where, parameters = "path=? AND version=?", [place.path, place.version]
        else:
            where, parameters = "path IS NULL AND url<>'' AND url=?", [place.url]
        order = "removed IS NULL AND closed IS NULL DESC, host='' DESC, id DESC"
        row = self._one(f"{CASE_QUERY} WHERE {where} ORDER BY {order} LIMIT 1", *parameters)
        if row is None:
            return None
        case = KnownCase(*row)
        ended = case.removed if case.removed is not None else case.closed
        if ended is not None and ended < said.received:
            return None
        self.add_event(case.id, said.received, "noticed", said.sender)
        return case
