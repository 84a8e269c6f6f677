"""The README in an archive of CyberTipline drafts: what a person must check, complete and send."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from hashscan.text import printable
from hashscan.timefmt import format_utc

_TEXT = """\
DRAFTS FOR THE CYBERTIPLINE

Nothing was sent. These are drafts, made by hashscan from the scan of {host} that began at
{time}. A person has to check them, complete them and send them, with credentials from NCMEC.

What is here
  customers.csv            which report is about which customer; one without a name is of files that no
                           rule of the settings gives to a customer
  NUMBER/report.xml        what is submitted first, one for each customer
  NUMBER/files/*.xml       what is submitted for each file after it was uploaded
  ncmec.xsd                checks a draft, and what you made of it:
                           xmllint --noout --schema ncmec.xsd NUMBER/report.xml

What to check before
  - Is this the way in which you have to report? The CyberTipline is that of the United States. Elsewhere
    the law names others, and may forbid to send files abroad.
  - Are the customers right? They come from rules in the settings. Being someone's customer says nothing of
    who put a file there: an account may be a reseller's, shared, or taken over.
  - industryClassification stands where the hash list has the category A1, A2, B1 or B2. Remove it unless
    your company takes part in industry hash sharing, whose scale it is.

What to fill in
  - reportId and fileId in each file's draft: NCMEC gives them as you submit the report and upload the file.
    Until then they are 0 and DRAFT, with which a draft is refused.
  - publiclyAvailable: whether everybody could see the file.
  - What you know of who uploaded it: ipCaptureEvent, uploadedToEspTimestamp, personOrUserReported.
  - fileViewedByEsp and exifViewedByEsp are false: hashscan shows pictures to nobody. Change them if someone
    of your company has looked at the whole file.

The files themselves are not here. Where they are is told in each draft; `hashscan quarantine list` names
those that were moved into quarantine, and `hashscan quarantine export` takes them out for an authority.

A name with characters that can't be shown is percent-encoded, as in URLs, and its % is %25 then; the draft
says so. Elsewhere such characters are told as \\u202e.
"""


def readme(time: datetime, host: str, left_out: Mapping[str, int], *, whole: bool) -> str:
    """Return the text.

    Args:
        time: start time of the scan, in UTC.
        host: the host on which it ran.
        left_out: number of findings that are not among the drafts, by reason.
        whole: False if the scan was killed, so that there may be more findings.
    """
    parts = [_TEXT.format(host=printable(host), time=format_utc(time))]
    if left_out:
        reasons = "".join(f"  {reason}: {number}\n" for reason, number in left_out.items())
        parts.append(f"Not among the drafts:\n{reasons}")
    if not whole:
        parts.append("The scan was killed: what it did not come by is not among the drafts.\n")
    return "\n".join(parts)
