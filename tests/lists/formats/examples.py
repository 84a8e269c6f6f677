"""Documents of every list format: good ones with how many entries they hold, bad ones with the place."""

from __future__ import annotations

import base64
import sys
from dataclasses import dataclass

from hashscan.registry import LIST_FORMATS

MD5 = "0123456789abcdef0123456789ABCDEF"
SHA1 = MD5 + "01234567"
SHA256 = MD5 * 2
SHA512 = MD5 * 4
PHOTO = base64.b64encode(bytes(range(144))).decode()
EDGE = base64.b64encode(bytes(231) * 4).decode()
VICS = '{"@odata.context":"http://x/2.0#Media","value":[%s]}'
MEDIUM = f'{{"MediaID":7,"Category":1,"MD5":"{MD5}","SHA1":"{SHA1}","PhotoDNA":"{PHOTO}","IsX":"True"}}'
NCMEC = '<queryResult xmlns="http://x"><images>%s</images></queryResult>'
IMAGE = (
    '<image><member id="4">M</member><id>i1</id><classification>A2</classification>'
    f"<fingerprints><md5>{MD5}</md5><sha1>{SHA1}</sha1><pdna>{PHOTO}</pdna></fingerprints></image>"
)
RECORD = f'{{"signalType":"ImagePDQ","hashValue":"{SHA256}","hashStatus":"Active"}}'
LINE = f'{{"id":"a","algorithm":"md5","value":"{MD5}","category":"B1"}}\n'


@dataclass(frozen=True)
class Examples:
    good: tuple[tuple[str, list[tuple[str, str]]], ...]
    """Documents with the algorithm and category of each entry."""
    bad: tuple[tuple[str, int], ...]
    """Documents with the line or record of the fault."""
    quits: bool = False
    """True when a document may not end early."""


EXAMPLES = {
    "csv": Examples(
        ((f"id,algorithm,value,category\na,md5,{MD5},A1\n", [("md5", "A1")]),),
        (("", 1), (f"id,algorithm,value,category\na,md5,{MD5},A1\nb,md5,0,A1\n", 3)),
    ),
    "ndjson": Examples(
        ((LINE + "\n" + LINE.replace('"a"', '"b"'), [("md5", "B1")] * 2),),
        (
            ("[]\n", 1),
            (LINE + "{}", 2),
            (LINE + "[" * 5000, 2),
            (LINE + '{"id":"a","id":"a","algorithm":"md5","category":"A1"}', 2),
            (LINE + "9" * 5000, 2),
        ),
    ),
    "vics": Examples(
        (
            (VICS % MEDIUM, [("md5", "baseline"), ("sha1", "baseline"), ("photodna", "baseline")]),
            (
                VICS % MEDIUM.replace('"Category":1', '"Category":"2"').replace('"7"', "7"),
                [("md5", "other"), ("sha1", "other"), ("photodna", "other")],
            ),
            (VICS % MEDIUM.replace('"Category":1', '"Category":0'), []),
            (VICS % MEDIUM.replace('"Category":1', '"Category":4'), []),
            (
                f'{{"odata.metadata":"http://x#Media","value":[{MEDIUM}]}}',
                [("md5", "baseline"), ("sha1", "baseline"), ("photodna", "baseline")],
            ),
            (
                f'{{"@odata.context":"x#Cases","value":[{{"Media":[{MEDIUM}]}},{{"Media":[{MEDIUM}]}}]}}',
                [("md5", "baseline"), ("sha1", "baseline"), ("photodna", "baseline")] * 2,
            ),
            (
                VICS % f'{{"Category":1,"AlternativeHashes":[{{"HashName":"PhotoDNA","HashValue":"{PHOTO}"}},'
                '{"HashName":"F1","HashValue":"x"}]}',
                [("photodna", "baseline")],
            ),
            (VICS % f'{{"Category":1,"PhotoDNA":"{EDGE}"}}', [("photodna_edge", "baseline")]),
            (VICS % "", []),
        ),
        (
            (VICS % (MEDIUM + ',{"MediaID":1}'), 2),
            (VICS % (MEDIUM + ",[]"), 2),
            (VICS % MEDIUM.replace(PHOTO, "AAAA"), 1),
            (VICS % MEDIUM.replace(MD5, "12"), 1),
            (VICS % (MEDIUM + ',{"Category":' + "9" * 6000 + "}"), 2),
            (VICS % (MEDIUM + "," + '{"x":' + "[" * 100_000), 1),
            (f'{{"value":[{MEDIUM}]}}', 1),
        ),
        quits=True,
    ),
    "ncmec": Examples(
        (
            (NCMEC % IMAGE, [("md5", "A2"), ("sha1", "A2"), ("photodna", "A2")]),
            (NCMEC % IMAGE.replace(PHOTO, EDGE), [("md5", "A2"), ("sha1", "A2"), ("photodna_edge", "A2")]),
            (NCMEC % IMAGE.replace("A2", "C9").replace("pdna", "x"), [("md5", "other"), ("sha1", "other")]),
            (NCMEC % IMAGE.replace("image>", "deletedImage>"), []),
        ),
        (
            (NCMEC % (IMAGE + "<image/>"), 2),
            (NCMEC % (IMAGE + IMAGE.replace(MD5, "zz")), 2),
            ("<other/>", 1),
            ('<!DOCTYPE q [<!ENTITY a "x"><!ENTITY b "&a;&a;&a;">]>' + NCMEC % "&b;", 1),
            ('<!DOCTYPE q [<!ENTITY a SYSTEM "file:///etc/passwd">]>' + NCMEC % "&a;", 1),
            ('<!DOCTYPE q SYSTEM "http://127.0.0.1:9/x.dtd">' + NCMEC % "", 1),
            ("<queryResult>" + "<a>" * 5000, 1),
        ),
        quits=True,
    ),
    "stopncii": Examples(
        (
            (f'{{"hashRecords":[{RECORD}]}}', [("pdq", "ncii")]),
            (
                f'{{"hashRecords":[{RECORD.replace("Active", "Withdrawn")},'
                f"{RECORD.replace('Active', 'Deleted')}]}}",
                [],
            ),
            (f'{{"hashRecords":[{RECORD.replace("ImagePDQ", "VideoTMK")}]}}', []),
        ),
        (
            (f'{{"hashRecords":[{RECORD},{RECORD.replace("Active", "Odd")}]}}', 2),
            (f'{{"hashRecords":[{RECORD},7]}}', 2),
        ),
        quits=True,
    ),
    "pdq": Examples(
        ((f"{SHA256},a.jpg\n{SHA256[::-1]},77,a,b.jpg\n", [("pdq", "B2")] * 2),),
        ((f"{SHA256},a\n{SHA256}\n", 2), (f"{MD5},a\n", 1)),
    ),
    "threatexchange": Examples(
        (
            (
                f"pdq {SHA256}\nHASH_MD5 {MD5}\nvideo_md5 {MD5}\nurl x\n",
                [("pdq", "B2"), ("md5", "B2"), ("md5", "B2")],
            ),
        ),
        ((f"md5 {MD5}\nodd {MD5}\n", 2), ("md5\n", 1)),
    ),
    "checksums": Examples(
        (
            (
                f"{MD5}  a\n\\{SHA1} *a\\nb\nSHA256 (a (b) = c) = {SHA256}\n{SHA512}  x\n",
                [("md5", "B2"), ("sha1", "B2"), ("sha256", "B2"), ("sha512", "B2")],
            ),
        ),
        ((f"{MD5}  a\n{MD5[1:]}  a\n", 2), (f"MD5 (a) = {SHA1}\n", 1)),
    ),
    "hashes": Examples(
        (
            (
                f"# ours\n{MD5}\n {SHA1} \npdq:{SHA256}\nSHA256: {SHA256}\n\n{SHA512}\n",
                [("md5", "B2"), ("sha1", "B2"), ("pdq", "B2"), ("sha256", "B2"), ("sha512", "B2")],
            ),
        ),
        (
            (f"{MD5}\n{SHA256}\n", 2),
            (f"{MD5}\n{MD5[1:]}\n", 2),
            (f"{MD5}\n{MD5}:73:name\n", 2),
            (f"{MD5}  name\n", 1),
            (f"{'0' * 16}\n", 1),
            (f"sha256:{MD5}\n", 1),
            ("# ours\n" + "g" * 32, 2),
        ),
    ),
    "vpdq": Examples(
        (
            (f"0,100,{SHA256},0.000\n30,50,{SHA256[::-1]},1.001\n", [("vpdq", "B2")] * 2),
            (
                f"0,100,{SHA256},0.000\n25,49,{SHA256[::-1]},1.000\n50,99,{SHA256.lower()},2.000\n"
                f"0,100,{SHA256},0.000\n",
                [("vpdq", "B2")] * 2,
            ),
            (f"0,0,123456{SHA256[6:]},0.000\n", []),
        ),
        (
            (f"0,100,{SHA256},0.000\n30,100,{SHA256[1:]},1.001\n", 2),
            (f"0,101,{SHA256},0.000\n", 1),
            (f"0,-1,{SHA256},0.000\n", 1),
            (f"0,100,{SHA256},nan\n", 1),
            (f"100,{SHA256},0.000\n", 1),
            (f"0,100,g{SHA256[1:]},0.000\n", 1),
        ),
    ),
    "hashdeep": Examples(
        (
            (
                f"%%%% HASHDEEP-1.0\n%%%% size,md5,sha256,filename\n## x\n5,{MD5},{SHA256},/a,b\n",
                [("md5", "B2"), ("sha256", "B2")],
            ),
        ),
        (
            ("x\n", 1),
            ("%%%% HASHDEEP-1.0\n%%%% size,odd,filename\n", 2),
            ("%%%% HASHDEEP-1.0\n%%%% size,md5,filename\n## x\n5\n", 4),
        ),
    ),
    "hdb": Examples(
        ((f"{MD5}:5:n\n{MD5[::-1]}:*:n:73\n", [("md5", "B2")] * 2),),
        ((f"{MD5}:5:n\n{SHA1}:5:n\n", 2), (f"{MD5}:x:n\n", 1), (f"{MD5}:5\n", 1)),
    ),
    "hsb": Examples(
        ((f"{SHA256}:*:n:73\n{SHA1}:5:n\n", [("sha256", "B2"), ("sha1", "B2")]),),
        ((f"{MD5}:5:n\n", 1),),
    ),
    "fp": Examples(
        ((f"{MD5}:5:n\n{SHA256}:*:n:73\n", [("md5", "known-good"), ("sha256", "known-good")]),),
        ((f"{MD5}:5:n\nnonsense\n", 2),),
    ),
}

for _name in LIST_FORMATS.keys() - EXAMPLES.keys():
    # A format of an installed plug-in brings its own.
    _module = sys.modules[LIST_FORMATS[_name].__module__]
    EXAMPLES[_name] = Examples(_module.GOOD, _module.BAD)
