"""`hashscan worker` and the options of a cluster, where they can't be meant."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.conftest import Run, environment
from tests.scan.nodes import Cluster, cluster, workers_of

pytest.importorskip("distributed")


@pytest.mark.slow
def test_a_node_starts_says_what_it_has_and_ends_by_a_signal(tmp_path: Path, state: Path) -> None:
    scratch = tmp_path / "scratch"
    # As a node leaves it that is killed.
    (scratch / "hashscan-worker-left" / "dask-scratch-space").mkdir(parents=True)
    with cluster(tmp_path / "cluster") as here:
        node = here.node(state, 2, environment={"TMPDIR": str(scratch)})
        assert "hashscan-worker-left" not in os.listdir(scratch)
        workers = workers_of(node)
        assert len(workers) == 2
        assert "lists: none but demo; sandbox: " in node.said[0]
        node.signal(signal.SIGINT)
        assert node.wait() == 130, node.said
        assert not any(Path(f"/proc/{pid}").exists() for pid in workers)
        assert len(node.said) == 2, node.said
        assert not [name for name in os.listdir(scratch) if name.startswith("hashscan-worker-")]


def test_a_node_without_a_scheduler(tmp_path: Path, state: Path) -> None:
    code = (
        "import sys; from hashscan.scan.cluster import host; host.START_SECONDS = 2\n"
        "import dask; dask.config.set({'distributed.comm.timeouts.connect': '1s'})\n"
        "from hashscan.cli.main import run\nsys.exit(run(sys.argv[1:]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, "worker", "--scheduler", "tcp://127.0.0.1:9", "--processes", "2"],
        env=environment(state),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 13, done.stderr
    assert "the scheduler tcp://127.0.0.1:9 can't be reached" in done.stderr


@pytest.fixture
def certificates(tmp_path: Path) -> Cluster:
    """A cluster's files, without the cluster."""
    made = object.__new__(Cluster)
    made.folder, made.port = tmp_path, 9
    made.make_certificates()
    return made


def test_keys_that_can_not_be_used(certificates: Cluster, run: Run, tmp_path: Path) -> None:
    def refused(*options: object) -> str:
        ran = run("worker", "--scheduler", certificates.address, *options)
        assert ran.code == 2, ran.err
        return ran.err

    certificates.key.chmod(0o644)
    assert "others than its owner" in refused(*certificates.certificates)
    certificates.key.chmod(0o600)
    ca = ("--cluster-ca", certificates.authority.file)
    cert, key = ("--cluster-cert", certificates.cert), ("--cluster-key", certificates.key)
    _, locked = certificates.authority.issue("locked", password=b"secret")
    locked.chmod(0o600)
    said = refused(*ca, *cert, "--cluster-key", locked)
    assert "can't be used for TLS" in said
    assert "passphrase" in said
    assert "can't be used for TLS" in refused("--cluster-ca", certificates.key, *cert, *key)
    ran = run("scan", tmp_path, "--list", "demo", *certificates.options[:-1], locked)
    assert ran.code == 2
    assert "passphrase" in ran.err
    assert "can't be read" in refused(*ca, *cert, "--cluster-key", tmp_path / "none")
    assert "needs --cluster-ca" in refused(*cert, *key)


def test_addresses_and_numbers_that_can_not_be_meant(run: Run, tmp_path: Path) -> None:
    ran = run("worker", "--scheduler", "tcp://192.0.2.1:8786")
    assert ran.code == 2
    assert "run any program on its workers" in ran.err
    ran = run("worker", "--scheduler", "tcp://127.0.0.1:8786", "--processes", "0")
    assert ran.code == 2
    assert "--processes" in ran.err


def test_dask_is_an_extra(tmp_path: Path, state: Path) -> None:
    code = (
        "import sys; sys.modules['dask'] = None\n"
        "from hashscan.cli.main import run\nsys.exit(run(sys.argv[1:]))"
    )
    for command in (
        ["worker", "--scheduler", "tcp://127.0.0.1:9"],
        ["scan", str(tmp_path), "--list", "demo", "--cluster", "tcp://127.0.0.1:9"],
    ):
        done = subprocess.run(
            [sys.executable, "-c", code, *command],
            env=environment(state),
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 2, done.stderr
        assert "pip install 'hashscan[dask]'" in done.stderr


def test_a_scan_without_a_cluster_does_not_import_dask(tmp_path: Path, state: Path) -> None:
    (tmp_path / "files").mkdir()
    code = (
        "import sys; from hashscan.cli.main import run\n"
        "run(sys.argv[1:])\nassert not {'dask', 'distributed'} & sys.modules.keys()"
    )
    for command in (["scan", str(tmp_path / "files"), "--list", "demo"], ["worker", "--help"]):
        done = subprocess.run(
            [sys.executable, "-c", code, *command],
            env=environment(state),
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr


def test_certificates_alone_are_no_cluster(run: Run, tmp_path: Path) -> None:
    """They may come from variables that are set for `hashscan worker`."""
    (tmp_path / "files").mkdir()
    (tmp_path / "files" / "a").write_bytes(b"a")
    ran = run("scan", tmp_path / "files", "--list", "demo", env={"HASHSCAN_CLUSTER_CA": "/nowhere"})
    assert ran.code == 0, ran.err
