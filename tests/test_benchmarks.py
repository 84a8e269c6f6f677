"""The benchmark measures what it says it measures."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap
from pathlib import Path

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
UPLOADS = Path(__file__).parents[1] / "examples" / "uploads"

BURN = "import time\nwhile time.process_time() < 0.4: pass"


def run_with_measure(code: str, scratch: Path) -> str:
    """Run code that has `measure` and `scratch`, in a process of its own: it changes whom it is parent of."""
    start = "import json, pathlib, sys, measure; measure.adopt_orphans()\n"
    start += f"scratch = pathlib.Path({str(scratch)!r})\n"
    done = subprocess.run(
        [sys.executable, "-c", start + textwrap.dedent(code)],
        cwd=BENCHMARKS,
        capture_output=True,
        text=True,
        check=True,
    )
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
        import corpus
        corpus.lay_out(pathlib.Path({str(UPLOADS)!r}), scratch / "work", 2)
        print(json.dumps([path.read_bytes().hex() for path in corpus.regular_files(scratch / "work")]))
        """,
        tmp_path,
    )
    contents = json.loads(said)
    # Two of the uploads are the same.
    assert len(contents) == len(set(contents)) == 30


def test_a_random_list_has_as_many_entries_of_every_algorithm(tmp_path: Path) -> None:
    said = run_with_measure("import corpus; print(''.join(corpus.random_list(400)))", tmp_path)
    header, *rows = said.split()
    assert header == "id,algorithm,value,category"
    algorithms = [row.split(",")[1] for row in rows]
    assert {name: algorithms.count(name) for name in set(algorithms)} == dict.fromkeys(
        ("md5", "sha1", "sha256", "pdq"), 100
    )
    assert len({row.split(",")[2] for row in rows}) == 400


def test_pictures_stay_pictures_in_the_copies(tmp_path: Path) -> None:
    report = tmp_path / "report.json"
    command: list[str | Path] = [
        sys.executable,
        BENCHMARKS / "sweep.py",
        UPLOADS,
        "--copies",
        "2",
        "--runs",
        "1",
    ]
    only = ["--only", "floor", "--only", "sha256sum"]
    done = subprocess.run([*command, *only, "--json", report], capture_output=True, text=True, check=True)
    floor, sums = sorted(json.loads(report.read_text())["results"], key=lambda result: result["name"])
    assert floor["files"] == sums["files"] == 30
    # In each copy: two texts and one truncated picture.
    assert floor["runs"][0]["undecoded"] == 6
    assert "sha256sum" in done.stdout
