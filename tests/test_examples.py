"""The examples do what they are shown for."""

from __future__ import annotations

import csv
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from defusedxml import ElementTree

from tests.prefork import PREFORK
from tests.sources.objects.buckets import SECRET, TestBucket

EXAMPLES = Path(__file__).parents[1] / "examples"
UPLOADS = EXAMPLES / "uploads"
UNITS = EXAMPLES / "systemd"
INSTALLED = "/opt/hashscan/bin/hashscan"

HIDING = {
    "DynamicUser",
    "ExecPaths",
    "InaccessiblePaths",
    "MountImages",
    "NoExecPaths",
    "PrivateDevices",
    "PrivateTmp",
    "PrivateUsers",
    "ProtectKernelModules",
    "RootDirectory",
    "RootImage",
    "TemporaryFileSystem",
}
"""Directives under which a scan misses files without a word."""


def directives(unit: str) -> list[tuple[str, str]]:
    lines = (UNITS / unit).read_text().splitlines()
    return [(key, value) for key, _, value in (x.partition("=") for x in lines if re.match(r"\w+=", x))]


def listed() -> dict[tuple[str, str], str]:
    """Ids by algorithm and value."""
    with (EXAMPLES / "demo-entries.csv").open(newline="") as file:
        return {(row["algorithm"], row["value"]): row["id"] for row in csv.DictReader(file)}


def draw(folder: Path, *arguments: str) -> None:
    script = EXAMPLES / "draw_uploads.py"
    subprocess.run([sys.executable, "-W", "error", script, folder, *arguments], check=True)


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


class TestUploads:
    @pytest.mark.slow
    def test_drawing_again_gives_the_same_bytes(self, tmp_path: Path) -> None:
        draw(tmp_path / "a")
        draw(tmp_path / "b")
        assert contents(tmp_path / "a") == contents(tmp_path / "b")
        assert contents(tmp_path / "a").keys() == contents(UPLOADS).keys()

    def test_they_are_small(self) -> None:
        assert sum(map(len, contents(UPLOADS).values())) < 600_000

    def test_the_entries_name_what_is_kept_here(self) -> None:
        entries = listed()
        for path in ("alice/holiday/lighthouse.jpg", "bob/shop/mug.png", "carol/blog/village.webp"):
            content = (UPLOADS / path).read_bytes()
            assert ("md5", hashlib.md5(content).hexdigest()) in entries
            assert ("sha256", hashlib.sha256(content).hexdigest()) in entries
        assert (UPLOADS / "carol/blog/favourite-mug.png").read_bytes() == (
            UPLOADS / "bob/shop/mug.png"
        ).read_bytes()


def hashscan(*arguments: str | Path, state: Path) -> subprocess.CompletedProcess[str]:
    return PREFORK.run([*map(str, arguments)], env=os.environ | {"HASHSCAN_STATE": str(state)})


def test_a_scan_finds_the_listed_uploads_their_copies_and_nothing_else(tmp_path: Path) -> None:
    imported = hashscan(
        "lists", "import", EXAMPLES / "demo-entries.csv", "--name", "samples", state=tmp_path / "s"
    )
    assert imported.returncode == 0, imported.stderr
    report = tmp_path / "report.jsonl"
    scanned = hashscan("scan", UPLOADS, "--report", report, "--workers", "1", state=tmp_path / "s")
    assert scanned.returncode == 1, scanned.stderr
    records = [json.loads(line) for line in report.read_text().splitlines()]
    found = {
        record["path"].removeprefix(f"{UPLOADS}/"): {match["algorithm"] for match in record["matches"]}
        for record in records
        if record["type"] == "finding"
    }
    exact = {"md5", "sha256", "pdq"}
    assert found == {
        "alice/holiday/lighthouse.jpg": exact,
        "bob/shop/banner.jpg": {"pdq"},
        "bob/shop/mug.png": exact,
        "carol/blog/favourite-mug.png": exact,
        "carol/blog/village.webp": exact,
    }
    assert [r["path"] for r in records if r["type"] == "undecoded"] == [
        f"{UPLOADS}/alice/holiday/unfinished.webp"
    ]


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a state that has the samples as a signed list, from the folder public beside it."""
    folder = tmp_path_factory.mktemp("crontab")
    work, state = folder / "work", folder / "state"
    for command in (
        ("init", "national", "--work", work, "--repository", folder / "public", "--no-passphrase"),
        ("add", EXAMPLES / "demo-entries.csv", "--work", work),
        ("release", "--work", work, "--no-passphrase"),
    ):
        done = hashscan("publish", *command, state=state)
        assert done.returncode == 0, done.stderr
    added = hashscan("lists", "add", "national", folder / "public", "--root", work / "root.json", state=state)
    assert added.returncode == 0, added.stderr
    return folder


class TestCrontab:
    """The line is run by a shell as cron would, with the real program."""

    @pytest.fixture
    def state(self, prepared: Path, tmp_path: Path) -> Path:
        """A copy of the prepared state."""
        return shutil.copytree(prepared / "state", tmp_path / "state", symlinks=True)

    def cron(self, state: Path, target: Path) -> str:
        """Return the output that cron would mail."""
        variables: dict[str, str] = {}
        jobs: list[str] = []
        for line in (EXAMPLES / "crontab").read_text().splitlines():
            if match := re.fullmatch(r"(\w+)=(.*)", line):
                variables[match[1]] = match[2].strip('"')
            elif line and not line.startswith("#"):
                jobs.append(line)
        (job,) = jobs
        user, _, command = job.split(maxsplit=5)[5].partition(" ")
        assert user == "root"
        # An unescaped one is a line break to cron.
        assert "%" not in command
        # What the sandbox can do on this machine is not the question here.
        command = command.replace("--sandbox required", "--sandbox auto")
        variables |= {"HASHSCAN": str(PREFORK.program()), "HASHSCAN_TARGETS": str(target)}
        variables |= {"HASHSCAN_STATE": str(state), "PATH": os.environ["PATH"]}
        done = subprocess.run(
            [variables["SHELL"], "-c", command],
            env=variables,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        return done.stdout

    def test_it_is_silent_when_all_is_well(self, state: Path, tmp_path: Path) -> None:
        (tmp_path / "www").mkdir()
        (tmp_path / "www" / "notes.txt").write_text("nothing to see")
        assert self.cron(state, tmp_path / "www") == ""

    def test_it_says_what_was_found(self, state: Path) -> None:
        said = self.cron(state, UPLOADS)
        assert said.startswith("exit 1: ")
        assert "lighthouse.jpg" in said

    @pytest.mark.slow
    def test_a_server_out_of_reach_is_no_news_while_the_list_is_good(
        self, state: Path, prepared: Path, tmp_path: Path
    ) -> None:
        (tmp_path / "www").mkdir()
        (tmp_path / "www" / "notes.txt").write_text("nothing to see")
        assert self.cron(state, tmp_path / "www") == ""
        (prepared / "public").rename(prepared / "gone")
        assert self.cron(state, tmp_path / "www") == ""
        (prepared / "gone").rename(prepared / "public")

    def test_it_says_when_there_is_no_list(self, tmp_path: Path) -> None:
        (tmp_path / "www").mkdir()
        said = self.cron(tmp_path / "empty", tmp_path / "www")
        assert "pull: " in said
        assert "exit 10: " in said

    @pytest.mark.slow
    def test_it_says_when_nothing_was_there_to_scan(self, state: Path, tmp_path: Path) -> None:
        (tmp_path / "www").mkdir()
        assert self.cron(state, tmp_path / "www").startswith("exit 3: ")


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed")
def test_systemd_accepts_the_units(tmp_path: Path) -> None:
    units = [path for kind in ("service", "timer", "path", "socket") for path in UNITS.glob(f"*.{kind}")]
    assert len(units) == 15
    for unit in units:
        (tmp_path / unit.name).write_text(unit.read_text().replace(INSTALLED, sys.executable))
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", *(str(tmp_path / unit.name) for unit in units)],
        # The closing colon stands for the system's own units.
        env=os.environ | {"SYSTEMD_UNIT_PATH": f"{tmp_path}:"},
        capture_output=True,
        text=True,
        check=False,
    )
    complaints = [line for line in done.stderr.splitlines() if str(tmp_path) in line or "hashscan" in line]
    assert (done.returncode, complaints) == (0, [])


def test_the_scanning_unit_hides_nothing_that_is_to_be_scanned() -> None:
    settings = directives("hashscan.service")
    assert HIDING.isdisjoint(key for key, _ in settings)
    assert dict(settings)["ProtectHome"] == "read-only"


def test_the_scanning_unit_may_read_and_lease_everything_and_nothing_else() -> None:
    settings = directives("hashscan.service")
    assert ("User", "hashscan") in settings
    rights = "CAP_DAC_READ_SEARCH CAP_LEASE"
    assert [v for k, v in settings if k == "AmbientCapabilities"] == [rights]
    assert [v for k, v in settings if k == "CapabilityBoundingSet"] == [rights]


def test_the_pulling_unit_has_no_capability() -> None:
    settings = directives("hashscan-pull.service")
    assert [v for k, v in settings if k == "CapabilityBoundingSet"] == [""]
    assert "AmbientCapabilities" not in dict(settings)


def test_no_finding_passes_for_success() -> None:
    codes = {c for k, v in directives("hashscan.service") if k == "SuccessExitStatus" for c in v.split()}
    assert codes.isdisjoint({"1", "2", "3", "4", "10", "11", "12", "70"})


_AWS = """#!%s
# Does what the command line of AWS does with these arguments, by the library that it is made from.
import json, os, sys
import botocore.session, jmespath
given = dict(zip(sys.argv[3::2], sys.argv[4::2], strict=True))
assert sys.argv[1:3] == ["s3api", "list-objects-v2"] and given.pop("--output") == "json"
query, bucket = given.pop("--query"), given.pop("--bucket")
assert not given
client = botocore.session.get_session().create_client(
    "s3", region_name="us-east-1", endpoint_url=os.environ["HASHSCAN_ENDPOINT"]
)
pages = client.get_paginator("list_objects_v2").paginate(Bucket=bucket).build_full_result()
pages = json.loads(json.dumps(pages, default=lambda time: time.isoformat()))
print(json.dumps(jmespath.search(query, pages), indent=4))
"""


@pytest.fixture
def installed(tmp_path: Path) -> dict[str, str]:
    """Variables with which a job's script finds programs and a list."""
    programs = tmp_path / "bin"
    programs.mkdir()
    python = f'#!/bin/sh\nexec {sys.executable} "$@"\n'
    for name, text in (
        ("python", python),
        ("aws", _AWS % sys.executable),
    ):
        (programs / name).write_text(text)
        (programs / name).chmod(0o755)
    (programs / "hashscan").symlink_to(PREFORK.program())
    state = tmp_path / "state"
    imported = hashscan("lists", "import", EXAMPLES / "demo-entries.csv", "--name", "national", state=state)
    assert imported.returncode == 0, imported.stderr
    return {
        "PATH": f"{programs}:{os.environ['PATH']}",
        "HASHSCAN_STATE": str(state),
        "GITHUB_STEP_SUMMARY": str(tmp_path / "step-summary.md"),
    }


class TestUploadFolder:
    """The jobs' own scripts, against the samples."""

    def script(self, which: str) -> str:
        job = yaml.safe_load((EXAMPLES / "ci" / f"{which}.yml").read_text())
        if which == "gitlab-ci":
            (script,) = job["check-uploads"]["script"]
            assert job["check-uploads"]["allow_failure"] == {"exit_codes": 3}
            # As GitLab's runner starts it.
            return f"set -eo pipefail\n{script}"
        (step,) = [step for step in job["jobs"]["hashscan"]["steps"] if step.get("name") == "Scan"]
        # As GitHub's runner starts it.
        return f"set -e\n{step['run']}"

    def run(self, which: str, installed: dict[str, str], here: Path) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            # What the sandbox can do on this machine is not the question here.
            ["bash", "-c", self.script(which).replace("--sandbox required", "--sandbox auto --workers 1")],
            env={**os.environ, **installed},
            cwd=here,
            capture_output=True,
            text=True,
            check=False,
        )

    @pytest.mark.parametrize(
        ("which", "baseline"),
        [
            ("github-actions", ".github/hashscan-baseline.json"),
            ("gitlab-ci", "hashscan-baseline.json"),
        ],
    )
    def test_what_is_new_fails_and_what_is_accepted_does_not(
        self, which: str, baseline: str, installed: dict[str, str], tmp_path: Path
    ) -> None:
        here = tmp_path / "job"
        (here / ".github").mkdir(parents=True)
        shutil.copytree(UPLOADS, here / "uploads")
        summary = Path(installed["GITHUB_STEP_SUMMARY"])
        done = self.run(which, installed, here)
        assert done.returncode == 1, done.stderr
        results = json.loads((here / "hashscan.sarif").read_text())["runs"][0]["results"]
        assert len(results) == 5
        summary_file = summary if which == "github-actions" else here / "hashscan.md"
        assert "5 match" in summary_file.read_text()
        if which == "gitlab-ci":
            suites = ElementTree.parse(here / "hashscan.xml").getroot()
            assert suites.get("failures") == "5"
        # As docs/ci.md has it.
        found = here / "found.jsonl"
        state = Path(installed["HASHSCAN_STATE"])
        assert hashscan("scan", here / "uploads", "--report", found, state=state).returncode == 1
        because = ("--reason", "drawn by code", "--until", "2099-01-31")
        accepted = hashscan("report", "accept", found, *because, "--output", here / baseline, state=state)
        assert accepted.returncode == 0, accepted.stderr
        done = self.run(which, installed, here)
        assert done.returncode == 0, done.stderr
        results = json.loads((here / "hashscan.sarif").read_text())["runs"][0]["results"]
        assert {result["suppressions"][0]["status"] for result in results} == {"accepted"}
        if which == "gitlab-ci":
            assert ElementTree.parse(here / "hashscan.xml").getroot().get("failures") == "0"


class TestUploadBucket:
    """The jobs' own scripts, against a bucket on this machine."""

    def job(self, which: str) -> tuple[str, str]:
        """A job's script and the SINCE that it has."""
        job = yaml.safe_load((EXAMPLES / "ci" / f"upload-bucket.{which}.yml").read_text())
        if which == "gitlab-ci":
            (script,) = job["check-new-uploads"]["script"]
            assert job["check-new-uploads"]["allow_failure"] == {"exit_codes": 3}
            # As GitLab's runner starts it.
            return f"set -eo pipefail\n{script}", job["check-new-uploads"]["variables"]["SINCE"]
        (step,) = [
            s
            for s in job["jobs"]["hashscan"]["steps"]
            if s["name" if "name" in s else "uses"] == "Scan new objects"
        ]
        assert step["shell"] == "bash"
        # As GitHub's runner starts it.
        return f"set -eo pipefail\n{step['run']}", job["jobs"]["hashscan"]["env"]["SINCE"]

    def run(
        self, which: str, bucket: TestBucket, environment: dict[str, str], here: Path, **more: str
    ) -> int:
        script, since = self.job(which)
        done = subprocess.run(
            # What the sandbox can do on this machine is not the question here.
            ["bash", "-c", script.replace("--sandbox required", "--sandbox auto")],
            env={
                **os.environ,
                **environment,
                "BUCKET": bucket.name,
                "SINCE": since,
                "HASHSCAN_ENDPOINT": str(bucket.access.endpoint),
                **more,
            },
            cwd=here,
            capture_output=True,
            text=True,
            check=False,
        )
        assert SECRET not in done.stdout + done.stderr
        return done.returncode

    @pytest.mark.slow
    @pytest.mark.parametrize("which", ["github-actions", "gitlab-ci"])
    def test_what_is_new_is_scanned(self, which: str, installed: dict[str, str], tmp_path: Path) -> None:
        here = tmp_path / "job"
        here.mkdir()
        report = here / "hashscan.jsonl"
        with TestBucket() as bucket:
            # An empty bucket has nothing new.
            assert self.run(which, bucket, installed, here) == 0
            bucket.put(b"notes  and/more.txt", b"nothing to see")
            assert self.run(which, bucket, installed, here) == 0
            assert json.loads(report.read_text().splitlines()[-1])["files"] == 1
            bucket.put(b"a//b c+d.jpg", (UPLOADS / "alice" / "holiday" / "lighthouse.jpg").read_bytes())
            assert self.run(which, bucket, installed, here) == 1
            assert f"s3://{bucket.name}/a//b c+d.jpg" in report.read_text()
            # Nothing is as new as that.
            assert self.run(which, bucket, installed, here, SINCE="1 hour") == 0
            assert json.loads(report.read_text().splitlines()[-1])["files"] == 0
            # Without the listing, nobody may think that all is well.
            (tmp_path / "bin" / "aws").write_text("#!/bin/sh\nexit 254\n")
            assert self.run(which, bucket, installed, here) == 254


class TestKubernetes:
    """The pods' own scripts, on this machine."""

    def documents(self, name: str) -> list[dict[str, Any]]:
        return list(yaml.safe_load_all((EXAMPLES / "kubernetes" / name).read_text()))

    def pod(self, name: str) -> dict[str, Any]:
        job = self.documents(name)[-1]
        pod: dict[str, Any] = job["spec"]["template"]["spec"]
        return pod

    def test_as_many_pods_as_shards(self) -> None:
        (job,) = [document for document in self.documents("scan.yml") if document["kind"] == "Job"]
        variables = {v["name"]: v["value"] for v in self.pod("scan.yml")["containers"][0]["env"]}
        assert job["spec"]["completionMode"] == "Indexed"
        assert int(variables["SHARDS"]) == job["spec"]["completions"] == 16

    @pytest.mark.parametrize("name", ["scan.yml", "merge.yml"])
    def test_pods_are_closed(self, name: str) -> None:
        pod = self.pod(name)
        assert pod["securityContext"]["runAsNonRoot"] is True
        volumes = {volume["name"] for volume in pod["volumes"]}
        for container in [*pod.get("initContainers", []), *pod["containers"]]:
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }
            assert {mount["name"] for mount in container["volumeMounts"]} <= volumes

    def test_shards_and_their_merging(self, tmp_path: Path) -> None:
        state, reports = tmp_path / "state", tmp_path / "reports"
        reports.mkdir()
        programs = tmp_path / "bin"
        programs.mkdir()
        (programs / "hashscan").symlink_to(PREFORK.program())
        imported = hashscan(
            "lists", "import", EXAMPLES / "demo-entries.csv", "--name", "national", state=state
        )
        assert imported.returncode == 0, imported.stderr

        def run(name: str, **more: str) -> subprocess.CompletedProcess[str]:
            (container,) = self.pod(name)["containers"]
            script = (
                container["args"][0]
                .replace("s3://example-uploads", str(UPLOADS))
                .replace("/reports", str(reports))
                .replace("--sandbox required --workers 4", "--workers 1")
            )
            return subprocess.run(
                [*container["command"], script],
                env={
                    **os.environ,
                    "PATH": f"{programs}:{os.environ['PATH']}",
                    "HASHSCAN_STATE": str(state),
                    "SHARDS": "3",
                    **more,
                },
                capture_output=True,
                text=True,
                check=False,
            )

        for index in range(3):
            done = run("scan.yml", JOB_COMPLETION_INDEX=str(index))
            assert done.returncode == 0, done.stderr
        assert {path.name for path in reports.iterdir()} == {f"shard-{index}.jsonl" for index in (1, 2, 3)}
        # A pod that can't scan is begun anew; there is no list in this state folder.
        assert (
            run("scan.yml", JOB_COMPLETION_INDEX="0", HASHSCAN_STATE=str(tmp_path / "new")).returncode == 10
        )
        merged = run("merge.yml")
        assert merged.returncode == 1, merged.stderr
        (whole,) = reports.iterdir()
        lines = [json.loads(line) for line in whole.read_text().splitlines()]
        assert lines[-1]["verdicts"]["match"] == 5
        assert lines[-1]["files"] == len(contents(UPLOADS))
        # Nothing is left to be joined to the next scan.
        assert run("merge.yml").returncode == 2
