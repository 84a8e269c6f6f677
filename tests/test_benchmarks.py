"""The benchmark measures what it says it measures."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from tests.pictures import encoded, scene

ROOT = Path(__file__).parents[1]
UPLOADS = ROOT / "examples" / "uploads"

BURN = "import time\nwhile time.process_time() < 0.4: pass"


def run_with_measure(code: str, scratch: Path) -> str:
    """Run code that has `measure` and `scratch`, in a process of its own: it changes whom it is parent of."""
    start = "import json, pathlib, sys; from benchmarks.lib import measure; measure.adopt_orphans()\n"
    start += f"scratch = pathlib.Path({str(scratch)!r})\n"
    done = subprocess.run(
        [sys.executable, "-c", start + textwrap.dedent(code)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout


def benchmark(name: str, *arguments: str | Path) -> str:
    """Run a benchmark, and return its standard output."""
    done = subprocess.run(
        [sys.executable, "-m", f"benchmarks.{name}", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_work_of_processes_that_outlive_the_command_counts(tmp_path: Path) -> None:
    said = run_with_measure(
        f"""
        orphan = [sys.executable, "-c", {BURN!r}]
        parent = f"import subprocess; subprocess.Popen({{orphan!r}})"
        sample = measure.run("orphan", [sys.executable, "-c", parent], scratch, {{}})
        print(sample.cpu)
        """,
        tmp_path,
    )
    assert float(said) >= 0.4


def test_a_failing_command_is_an_error(tmp_path: Path) -> None:
    said = run_with_measure(
        """
        try:
            measure.run("false", ["false"], scratch, {})
        except measure.MeasureError as error:
            print(error)
        """,
        tmp_path,
    )
    assert "exit code 1" in said


def test_a_disturbed_run_is_repeated_but_not_forever(tmp_path: Path) -> None:
    said = run_with_measure(
        """
        from benchmarks.lib import corpus, scans
        checked = []
        def check(sample):
            checked.append(sample)
            if len(checked) in {1, 2} or len(checked) > 3:
                raise measure.DisturbedError
            return {"number": len(checked)}
        over = corpus.FileSet(scratch, scratch / "none", 1, 1)
        field = {"true": scans.Contender(["true"], over, check)}
        found = scans.run_all(field, scratch, 1)["true"]
        print(json.dumps([len(found.samples), found.notes]))
        try:
            scans.run_all(field, scratch, 1)
        except measure.DisturbedError:
            print(len(checked))
        """,
        tmp_path,
    )
    assert [json.loads(line) for line in said.splitlines()] == [[1, [{"number": 3}]], 9]


def test_pinned_blas_code_is_taken_out_of_the_environment(tmp_path: Path) -> None:
    said = run_with_measure(
        """
        import os
        os.environ["OPENBLAS_CORETYPE"] = "Prescott"
        show = "import os; print(os.environ.get('OPENBLAS_CORETYPE'), os.environ['MORE'])"
        print(measure.run("show", [sys.executable, "-c", show], scratch, {"MORE": "1"}).output)
        """,
        tmp_path,
    )
    assert said.split() == ["None", "1"]


def test_no_content_comes_twice(tmp_path: Path) -> None:
    said = run_with_measure(
        f"""
        from benchmarks.lib import corpus
        corpus.lay_out(pathlib.Path({str(UPLOADS)!r}), scratch / "work", 2)
        print(json.dumps([path.read_bytes().hex() for path in corpus.regular_files(scratch / "work")]))
        """,
        tmp_path,
    )
    contents = json.loads(said)
    # Two of the uploads are the same.
    assert len(contents) == len(set(contents)) == 30


def test_a_random_list_has_as_many_entries_of_every_algorithm(tmp_path: Path) -> None:
    said = run_with_measure(
        "from benchmarks.lib import corpus; print(''.join(corpus.random_list(400)))", tmp_path
    )
    header, *rows = said.split()
    assert header == "id,algorithm,value,category"
    algorithms = [row.split(",")[1] for row in rows]
    assert {name: algorithms.count(name) for name in set(algorithms)} == dict.fromkeys(
        ("md5", "sha1", "sha256", "pdq"), 100
    )
    assert len({row.split(",")[2] for row in rows}) == 400


def test_pictures_stay_pictures_in_the_copies(tmp_path: Path) -> None:
    report = tmp_path / "report.json"
    few = ("--copies", "2", "--runs", "1", "--only", "floor", "--only", "sha256sum")
    said = benchmark("scan.photographs", UPLOADS, *few, "--json", report)
    floor, sums = sorted(json.loads(report.read_text())["results"], key=lambda result: result["name"])
    assert floor["files"] == sums["files"] == 30
    # In each copy: two texts and one truncated picture.
    assert floor["runs"][0]["undecoded"] == 6
    assert "sha256sum" in said


@pytest.mark.slow
def test_small_files_come_to_ratios_with_targets(tmp_path: Path) -> None:
    report = tmp_path / "report.json"
    few = ("--texts", "30", "--pictures", "20", "--runs", "1")
    said = benchmark("scan.small_files", UPLOADS, *few, "--work", tmp_path, "--json", report)
    found = json.loads(report.read_text())
    assert [(result["files"], result["runs"][0].get("undecoded")) for result in found["results"]] == [
        (30, 0),
        (30, None),
        (20, 0),
        (20, 0),
    ]
    assert [ratio["at most"] for ratio in found["ratios"]] == [6, None, 1.5, None]
    assert "target 1.500: missed" in said


@pytest.mark.slow
def test_two_versions_are_compared_over_each_kind_of_files(tmp_path: Path) -> None:
    few = ("--copies", "0", "--texts", "20", "--pictures", "10", "--runs", "1")
    few += ("--entries", "2000", "--only-pdq", "--skip-variant", "restored")
    said = benchmark("scan.versions", UPLOADS, "--before", sys.executable, *few, "--work", tmp_path)
    lines = [line.partition(" files ")[0].rsplit(maxsplit=1) for line in said.splitlines()[1:]]
    assert [(kind, int(files) > 0) for kind, files in lines] == [
        ("texts", True),
        ("texts, unchanged", True),
        ("thumbnails", True),
        ("thumbnails, without restored", True),
    ]


@pytest.mark.slow
def test_every_index_finds_the_same_and_each_part_comes_to_a_figure(tmp_path: Path) -> None:
    report = tmp_path / "report.json"
    few = ("--entries", "21000", "--batch", "16", "--rounds", "1", "--seconds", "0.001", "--sample", "4")
    said = benchmark("index.queries", "--skip-peers", *few, "--work", tmp_path, "--json", report)
    rows = json.loads(report.read_text())["results"]
    parts = {"compile", "near", "exact", "workers", "growth", "takeover", "check"}
    assert {row["part"] for row in rows} == parts
    assert all(row["exact"] for row in rows if row["part"] in {"near", "exact"})
    near = [row for row in rows if row["part"] == "near" and row["threshold"] == 31]
    hits = {row["queries"]: row["hits"] for row in near if row["kind"] == "clustered"}
    assert hits["copied"] >= 5250
    assert hits["near-duplicate"] >= 10
    assert hits["miss"] == 0
    assert "hashscan check DIGEST" in said


def test_an_index_that_misses_a_neighbour_is_reported(tmp_path: Path) -> None:
    said = run_with_measure(
        """
        import argparse, numpy
        from benchmarks.index import digests, queries
        options = argparse.Namespace(
            skip=[], threshold=[31], batch=4, rounds=1, seconds=0.001, sample=8, entries=[500]
        )
        bench = queries.Bench(options, scratch, "")
        held = digests.uniform(500, 32, 64, 31)
        bench.keep("pdq", held, "uniform")
        for name, values in held.queries.items():
            values[:] = held.entries[: len(values)]
        # The list lacks what the brute force is given.
        more = digests.DigestSet(numpy.concatenate((held.entries, held.entries[:1])), held.queries)
        numpy.save(bench.queries("hit"), held.queries["hit"])
        queries.near(bench, 500, "uniform", more)
        print(json.dumps([row["exact"] for row in bench.rows if row.get("queries") == "hit"]))
        """,
        tmp_path,
    )
    assert set(json.loads(said)) == {False}


def test_a_filter_of_digests_comes_to_figures() -> None:
    said = benchmark("index.digest_filter", "--digests", "3000", "--others", "30000")
    figures = dict(re.split(" {2,}", line, maxsplit=1) for line in said.splitlines())
    assert figures["digests held back"] == "0"
    assert figures["bytes of the filter"] == "9216"
    assert int(figures["others let through"].split()[0]) < 10


@pytest.mark.slow
def test_a_scan_with_a_filter_sends_few_digests() -> None:
    said = benchmark("scan.service_filter", "--files", "40", "--listed", "100").splitlines()
    without, filtered = (re.search(r"(\d+) clean digests sent", line) for line in said[1:])
    assert without is not None
    assert int(without[1]) == 40 * 3 - 10
    assert filtered is not None
    assert int(filtered[1]) <= 2


def test_brute_force_is_right(tmp_path: Path) -> None:
    said = run_with_measure(
        """
        import numpy
        from benchmarks.index import digests
        held = digests.clustered(2000, 32, 8)
        wrong = 0
        for values in held.queries.values():
            for value in values:
                number = int.from_bytes(value.tobytes(), "big")
                entries = [int.from_bytes(entry.tobytes(), "big") for entry in held.entries]
                near = [row for row, entry in enumerate(entries) if (entry ^ number).bit_count() <= 31]
                wrong += near != digests.within(held.entries, value, 31).tolist()
        print(wrong, len(held.entries))
        """,
        tmp_path,
    )
    assert said.split() == ["0", "2000"]


def test_digests_lie_as_near_as_they_say(tmp_path: Path) -> None:
    said = run_with_measure(
        """
        import numpy
        from benchmarks.index import digests
        rng = numpy.random.default_rng(1)
        start = numpy.zeros((5000, 16), dtype=numpy.uint8)
        bits = numpy.bitwise_count(digests.flipped(start, 9, rng)).sum(axis=1)
        few = numpy.bitwise_count(digests.flipped(start, 1, rng, least=1)).sum(axis=1)
        print(bits.min(), bits.max(), few.min(), few.max())
        """,
        tmp_path,
    )
    assert said.split() == ["0", "9", "1", "1"]


def test_an_environment_that_lacks_a_package_is_made_anew(tmp_path: Path) -> None:
    said = run_with_measure(
        """
        from benchmarks.lib import peers
        print(peers.is_ready(scratch))
        (scratch / peers.READY).write_text("".join(f"{name.upper()}==1\\n" for name in peers.PACKAGES))
        print(peers.is_ready(scratch))
        (scratch / peers.READY).write_text("".join(f"{name}==1\\n" for name in peers.PACKAGES[1:]))
        print(peers.is_ready(scratch))
        """,
        tmp_path,
    )
    assert said.split() == ["False", "True", "False"]


def test_structured_pictures_are_the_same_every_time_and_differ(tmp_path: Path) -> None:
    said = run_with_measure(
        """
        from benchmarks.recall import structured
        named = list(structured.names(3 * len(structured.KINDS)))
        drawn = [structured.drawn(*name) for name in named]
        print(drawn == [structured.drawn(*name) for name in named], len(set(drawn)) == len(named))
        """,
        tmp_path,
    )
    assert said.split() == ["True", "True"]


def test_recall_counts_what_lies_within_the_threshold(tmp_path: Path) -> None:
    said = run_with_measure(
        """
        import numpy
        from benchmarks.recall import figures

        def line(*digests):
            return json.dumps([[f"{value:064x}", 100, *what] for value, *what in digests])

        near, far = (1 << 31) - 1, (1 << 32) - 1
        file = scratch / "digests"
        file.write_text("\\n".join((
            line((0, "as stored", False, "")),
            line((far, "as stored", False, ""), (near, "mirrored", True, "")),
            line((near, "as stored", False, "")),
            line((near, "as stored", False, "of few greys")),
            "[]",
        )))
        hashed = figures.read(file)
        entries, chosen = figures.entries_of(hashed[:1])
        found = figures.distances(hashed, entries)
        print(found.within(31, 21)[:, 0].tolist(), found.doubted_within(31, 21)[:, 0].tolist())
        print(figures.largest_without(numpy.ones((2, 1), bool), found.part([1, 2]), 21, 128))
        print(round(figures.upper_bound(0), 2), round(figures.upper_bound(3), 2))
        """,
        tmp_path,
    )
    assert said.splitlines() == [
        "[True, False, True, False, False] [False, False, False, True, False]",
        "30",
        "3.0 7.75",
    ]


@pytest.mark.slow
def test_recall_from_pictures_to_a_table(tmp_path: Path) -> None:
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    for number in range(2):
        (pictures / f"{number}.jpg").write_bytes(encoded(scene(number)))
    # The same again, which is to be left out.
    (pictures / "copy.jpg").write_bytes(encoded(scene(0), quality=60))
    report = tmp_path / "report.json"
    said = benchmark("recall.recall", pictures, "--skip-peers", "--structured", "11", "--json", report)
    results = json.loads(report.read_text())
    assert results["photos"] == 2
    assert results["left out"] == [["0.jpg", "copy.jpg"]]
    found = results["tools"]["hashscan"]["recall"]
    assert len(found) >= 20
    assert found["jpeg 50"] == found["mirrored"] == found["pad 10% orange"] == 1
    assert found["crop 20%"] == 0
    assert "copy.jpg" in said


@pytest.mark.slow
def test_near_copies_are_counted_on_one_half_of_the_photos(tmp_path: Path) -> None:
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    halves: dict[int, list[str]] = {0: [], 1: []}
    for number in range(20):
        content = encoded(scene(number))
        half = halves[hashlib.sha256(content).digest()[0] >> 7]
        if len(half) < 3:
            half.append(f"{number}.jpg")
            (pictures / half[-1]).write_bytes(content)
    report = tmp_path / "report.json"
    few = ("--photos", "1", "--longest", "96", "--processes", "1", "--json", report)
    some = ("--only", "jpeg", "--only", "mirrored", "--only", "crop", "--only", "collage")
    said = benchmark("recall.near_copies", pictures, *few, *some)
    ((name, found),) = json.loads(report.read_text()).items()
    assert name in halves[1]
    assert {name.partition(" ")[0] for name in found} == {"unaltered", "jpeg", "mirrored", "crop", "collage"}
    assert found["unaltered"] == found["jpeg 60"] == ["match", True, True]
    assert found["mirrored"] == ["match", False, False]
    assert found["crop 30 %"][:2] == ["missed", False]
    assert "missed" in said
    more = ("--second", "phash", "--review-threshold", "40")
    benchmark("recall.near_copies", pictures, *few, "--only", "crop to", "--augment", *more)
    ((_, with_parts),) = json.loads(report.read_text()).items()
    assert (found["crop to a square"][0], with_parts["crop to a square"][0]) == ("missed", "match")


class TestBillion:
    """Arithmetic, so that it can be checked by hand."""

    def paragraph(self, *arguments: str) -> str:
        return benchmark("buckets.billion", *arguments)

    def test_cores_bind(self) -> None:
        # A machine does 1,000 a second; 10⁹ in 100 hours are 2,778 a second.
        said = self.paragraph(
            "--rate", "100", "--size", "100K", "--cores", "10", "--network", "10", "--hours", "100",
            "--price-get", "0.4", "--price-list", "5", "--price-machine", "0.5",
        )  # fmt: skip
        assert "A billion objects of 100 kB on average take 3 machines of 10 cores 92.6 hours" in said
        assert "the cores bind first; of 10 Gbit a second they take 0.8." in said
        assert "the 3,000 a second that all ask for must be spread over 1 or more" in said
        assert "1,000,000,000 GETs bring 100.0 TB" in said
        assert (
            "takes 1,000,000 requests; where each machine is a shard and lists everything, 3,000,000" in said
        )
        # 400 for GETs, 15 for listing, three times half of 92.6 for machines.
        assert "that is 554." in said

    def test_the_network_binds(self) -> None:
        # 1 Gbit a second are 125 MB, which are 125 objects.
        said = self.paragraph(
            "--rate", "100", "--size", "1M", "--cores", "10", "--network", "1", "--hours", "1",
            "--objects", "900000",
        )  # fmt: skip
        assert "900,000 objects of 1 MB on average take 2 machines of 10 cores 1.0 hours" in said
        assert "the network binds first: 1 Gbit a second carry 125 objects a second" in said
        assert "the cores could do 1,000." in said

    def test_the_bucket_binds(self) -> None:
        # 5,500 a second take 50.5 hours, and six machines reach that.
        said = self.paragraph(
            "--rate", "100", "--size", "1K", "--cores", "10", "--network", "10", "--hours", "5",
            "--prefixes", "1",
        )  # fmt: skip
        assert "take 6 machines of 10 cores 50.5 hours" in said
        assert "The bucket binds before them" in said

    def test_rates_that_were_measured(self, tmp_path: Path) -> None:
        # Nine pictures and one other object take 9/100 + 1/1000 s, and 10 kB more of each, at 10 MB/s, 10 ms.
        measured = {
            "pictures": 100, "picture_bytes": 50_000, "plain": 1000, "plain_bytes": 10_000, "bytes": 10e6,
            "listed": 5000,
        }  # fmt: skip
        rates = tmp_path / "rates.json"
        rates.write_text(json.dumps({"rates": measured}))
        machine = ("--cores", "10", "--network", "100", "--hours", "100", "--rates", str(rates))
        said = self.paragraph(*machine, "--share", "0.9", "--size", "56K")
        assert (
            "A billion objects of 56 kB on average take 3 machines of 10 cores 93.5 hours: 99 objects" in said
        )
        # 10⁹ by 5,000 are 55.6 hours.
        assert "A process that lists everything takes 55.6 hours of a core for that alone." in said
        said = self.paragraph(*machine[:-3], "10", *machine[-2:])
        assert "objects of 50 kB on average take 28 machines of 10 cores 9.9 hours: 100 objects" in said
        assert (
            "alone, longer than the reading: take an inventory, or give each machine prefixes of its" in said
        )


def test_what_a_core_does_follows_from_processor_time_without_the_start_up(tmp_path: Path) -> None:
    said = run_with_measure(
        """
        from benchmarks.buckets import rates as bucket_rates
        from benchmarks.lib import results
        def result(what, files, size, cpu):
            made = results.Result(f"hashscan {what}", files, files * size)
            # However long it took by the clock, and whatever others did meanwhile.
            made.add(measure.Sample(100.0, cpu, 50.0, ""), {"start-up": 2.0})
            return made.name, made
        found = dict((
            result("pictures", 1000, 30_000, 3.0),
            result("plain", 1000, bucket_rates.PLAIN_BYTES, 2.2),
            result("large", 10, bucket_rates.LARGE_BYTES, 2.402),
            result("keys", 100_000, 1000, 4.0),
        ))
        print(json.dumps(bucket_rates.rates(found)))
        """,
        tmp_path,
    )
    assert json.loads(said) == {
        "pictures": pytest.approx(1000),
        "picture_bytes": 30_000,
        "plain": pytest.approx(5000),
        "plain_bytes": 2000,
        # 40.2 ms for one, of which 0.2 are not for its bytes.
        "bytes": pytest.approx(7_998_000 / 0.04),
        "listed": pytest.approx(50_000),
    }


@pytest.mark.slow
def test_a_bucket_s_rates_can_be_reckoned_with(tmp_path: Path) -> None:
    report = tmp_path / "report.json"
    few = ["--pictures", "240", "--plain", "2000", "--large", "20", "--keys", "20000", "--runs", "1"]
    said = benchmark("buckets.rates", UPLOADS, *few, "--json", report)
    found = json.loads(report.read_text())
    assert all(rate > 0 for rate in found["rates"].values())
    assert [result["files"] for result in found["results"]] == [240, 240, 2000, 2000, 20, 20, 20000]
    assert "pictures: hashscan CPU / obstore and a loop CPU" in said
    assert "keys that are only listed" in said
    plan = ["--cores", "16", "--network", "10", "--hours", "24", "--rates", report]
    assert "A billion objects of " in benchmark("buckets.billion", *plan)


@pytest.mark.slow
def test_scans_of_a_bucket_beside_plain_downloads(tmp_path: Path) -> None:
    report = tmp_path / "report.json"
    few = ("--objects", "300", "--far", "5", "--runs", "1")
    said = benchmark("buckets.objects", *few, "--json", report)
    found = json.loads(report.read_text())
    assert [result["files"] for result in found["results"]] == [300, 300, 5, 5]
    assert 50e6 < found["memory"] < 500e6
    assert next(line["label"] for line in found["ratios"]) == "hashscan wall / obstore and a loop wall"
    assert "memory of all processes, MB" in said


@pytest.mark.slow
def test_a_reader_is_timed_alone_and_beside_others(tmp_path: Path) -> None:
    few = ("--files", "2", "--size", "1000000", "--seconds", "0.5", "--runs", "1")
    said = benchmark("scan.neighbour", *few, "--only", "hashscan --limit", "--work", tmp_path)
    assert said.count(", by itself: ") == 2
    assert said.count("MB/s ") >= 8
    assert not list(tmp_path.iterdir())


def test_documents_are_timed_beside_their_peers(tmp_path: Path) -> None:
    few = ("--findings", "50", "--repeats", "1", "--only", "csv", "--only", "xarf")
    said = benchmark("reports.documents", *few, "--work", tmp_path)
    for name in ("csv", "xarf", "loop: json, csv", "json.loads alone"):
        assert f"\n{name} " in said
    assert "a second" in said
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "few", "line"),
    [
        ("scan.c_twins", ("--runs", "1"), "listing of "),
        ("cases.ledger", ("--number", "50", "--repeats", "1"), "notices become cases "),
        ("state.lookup", ("--contents", "500", "--repeats", "1"), "lookup pdq within 31 "),
        (
            "state.confirming",
            ("--contents", "500", "--entries", "50", "--new", "5", "--repeats", "1"),
            "compared ",
        ),
    ],
)
def test_others_come_to_figures(name: str, few: tuple[str, ...], line: str) -> None:
    assert any(each.startswith(line) for each in benchmark(name, *few).splitlines())


@pytest.mark.slow
@pytest.mark.skipif(
    shutil.which("clamd", path="/usr/sbin:/usr/bin") is None, reason="clamd (clamav-daemon) is not installed"
)
def test_uploads_are_timed_beside_clamd() -> None:
    """All servers answer all uploads, in the four kinds of connections."""
    shown = benchmark("serve.uploads", "--rounds", "1", "--uploads", "16", "--entries", "50")
    assert len([line for line in shown.splitlines() if "clamd .hsb" in line]) == 4
    assert len(shown.splitlines()) == 2 + 4 * 6
