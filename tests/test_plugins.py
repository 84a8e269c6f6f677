"""Plug-ins: found in this installation's folders, loaded or left out, and never in the way."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from hashscan import plugins, registry
from tests.cli.conftest import Ran, environment
from tests.pictures import encoded, scene

ROOT = Path(__file__).parent.parent
DECLARATION = """
from hashscan.plugins import Algorithm, Plugin, Row
PLUGIN = Plugin({})
"""
ROWS = "rows={{'{kind}': (Row('{name}', '{target}', 'for a test'),)}}"


def add(folder: Path, name: str, declaration: str, target: str = "") -> None:
    """Install a plug-in of one module into a folder."""
    module = f"plugin_{name}"
    (folder / f"{module}.py").write_text(declaration)
    info = folder / f"{module}-1.0.dist-info"
    info.mkdir()
    entry = target or f"{module}:PLUGIN"
    (info / "entry_points.txt").write_text(
        f"[console_scripts]\nx = y:z\n\n[hashscan.plugins]\n{name} = {entry}\n\n[other]\na = b:c\n"
    )


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "packages"
    folder.mkdir()
    monkeypatch.syspath_prepend(str(folder))
    return folder


@pytest.fixture(autouse=True)
def forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each test's modules are its own."""
    for name in [name for name in sys.modules if name.startswith("plugin_")]:
        monkeypatch.delitem(sys.modules, name)


def load(folder: Path) -> dict[str, plugins.InstalledPlugin]:
    return {installed.name: installed for installed in plugins._load([str(folder)])}


def test_a_plugin_is_found_by_its_entry_point(folder: Path) -> None:
    (folder / "other-1.0.dist-info").mkdir()
    (folder / "notes.txt").write_text("[hashscan.plugins]")
    assert load(folder) == {}
    rows = ROWS.format(kind="list format", name="mine", target="plugin_good:Format")
    add(folder, "good", DECLARATION.format(rows))
    found = load(folder)["good"]
    assert (found.package, found.trouble) == ("plugin_good-1.0", "")
    assert found.plugin.rows["list format"][0].name == "mine"
    assert load(folder / "missing") == {}


@pytest.mark.parametrize(
    "declaration",
    [
        "import a_module_that_is_not_there",
        "raise RuntimeError('no')",
        "import sys; sys.exit(3)",
        "raise GeneratorExit",
        "class Other(BaseException): pass\nraise Other",
        "def broken(:",
        "PLUGIN = 7",
        "OTHER = 7",
        DECLARATION.format(ROWS.format(kind="source", name="Not A Name", target="a:B")),
        DECLARATION.format(ROWS.format(kind="source", name="fine", target="no target")),
        DECLARATION.format(ROWS.format(kind="picture hash", name="lonely", target="a:B")),
        DECLARATION.format("algorithms=(Algorithm('alone', 64, 'hamming', of_picture=True),)"),
        DECLARATION.format("algorithms=(Algorithm('wide', 1 << 20, 'exact', of_picture=False),)"),
    ],
)
def test_a_broken_plugin_is_named_and_left_out(folder: Path, declaration: str) -> None:
    add(folder, "bad", declaration)
    add(folder, "good", DECLARATION.format(""))
    found = load(folder)
    assert found["bad"].trouble
    assert found["bad"].plugin == plugins.Plugin()
    assert not found["good"].trouble


@pytest.mark.parametrize(
    "declaration",
    [
        "import time; time.sleep(10_000)",
        "while True: pass",
        "import time\ntry: time.sleep(10_000)\nexcept Exception: time.sleep(10_000)",
    ],
)
def test_a_plugin_that_hangs_does_not_keep_commands_from_starting(
    folder: Path, monkeypatch: pytest.MonkeyPatch, declaration: str
) -> None:
    monkeypatch.setattr(plugins, "_IMPORT_SECONDS", 0.1)
    before = signal.getsignal(signal.SIGALRM)
    add(folder, "bad", declaration)
    add(folder, "good", DECLARATION.format(""))
    found = load(folder)
    assert (bool(found["bad"].trouble), found["good"].trouble) == (True, "")
    assert (signal.getsignal(signal.SIGALRM), signal.getitimer(signal.ITIMER_REAL)) == (before, (0.0, 0.0))


def test_entry_points_that_are_no_file_or_very_long(folder: Path) -> None:
    for name in ("a", "b", "c"):
        (folder / f"{name}-1.0.dist-info").mkdir()
    os.mkfifo(folder / "a-1.0.dist-info" / "entry_points.txt")
    (folder / "b-1.0.dist-info" / "entry_points.txt").mkdir()
    long = folder / "c-1.0.dist-info" / "entry_points.txt"
    long.write_text(
        "[console_scripts]\n" + "x = y:z\n" * 50_000 + f"[hashscan.plugins]\n{'n' * 9000} = a:B\n"
    )
    (found,) = plugins._load([str(folder)])
    assert found.trouble
    assert len(found.name) < 200


def test_a_name_that_two_plugins_have_is_of_the_first(folder: Path) -> None:
    add(folder, "one", DECLARATION.format(""))
    (folder / "second-1.0.dist-info").mkdir()
    (folder / "second-1.0.dist-info" / "entry_points.txt").write_text(
        "[hashscan.plugins]\none = plugin_one:PLUGIN\n"
    )
    first, second = plugins._load([str(folder)])
    assert (first.trouble, bool(second.trouble)) == ("", True)


def test_code_from_outside_of_the_folder_is_not_run(folder: Path, tmp_path: Path) -> None:
    """Such as from the current folder, which may be a customer's."""
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "plugin_outside.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    sys.path.insert(0, str(elsewhere))
    try:
        add(folder, "outside", DECLARATION.format(""))
        assert "not in" in load(folder)["outside"].trouble
    finally:
        sys.path.remove(str(elsewhere))
    assert not (tmp_path / "ran").exists()


def test_a_package_that_lies_partly_outside_of_the_folder_is_not_run(folder: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    (folder / "plugin_split").mkdir()
    (folder / "plugin_split" / "part.py").write_text(DECLARATION.format(""))
    (elsewhere / "plugin_split").mkdir(parents=True)
    sys.path.insert(0, str(elsewhere))
    try:
        add(folder, "split", "", "plugin_split.part:PLUGIN")
        (folder / "plugin_split.py").unlink()
        assert "not in" in load(folder)["split"].trouble
    finally:
        sys.path.remove(str(elsewhere))


def test_a_folder_and_a_link_to_it_are_searched_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import site

    (tmp_path / "lib").mkdir()
    (tmp_path / "lib64").symlink_to("lib")
    both = [str(tmp_path / "lib64"), str(tmp_path / "lib")]
    monkeypatch.setattr(site, "getsitepackages", lambda: both)
    assert plugins._folders() == both[:1]


def test_rows_and_algorithms_whose_names_are_taken(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = "hashscan.lists.formats.csv_and_ndjson:CsvFormat"
    rows = ROWS.format(kind="list format", name="csv", target=target)
    add(folder, "csv", DECLARATION.format(rows))
    algorithm = "algorithms=(Algorithm('pdq', 64, 'hamming', of_picture=True),)"
    add(
        folder,
        "pdq",
        DECLARATION.format(f"{algorithm}, {ROWS.format(kind='picture hash', name='pdq', target='a:B')}"),
    )
    monkeypatch.setattr(plugins, "INSTALLED", plugins._load([str(folder)]))
    own = {"pdq": plugins.Algorithm("pdq", 256, "hamming", of_picture=True)}
    assert plugins.with_algorithms(own) == own
    row = plugins.Row("csv", target, "ours")
    made: registry.Registry[registry.ListFormat] = registry.Registry(
        "list format",
        registry.ListFormat,  # type: ignore[type-abstract]
        row,
    )
    assert made.rows == {"csv": row}
    assert all(installed.trouble for installed in plugins.INSTALLED)


def test_decoders_and_other_interpreters_without_site_search_nothing() -> None:
    code = "import sys; sys.path[:] = sys.argv[1:]; from hashscan import plugins; print(plugins._folders())"
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", code, *sys.path], capture_output=True, text=True, check=True
    )
    assert done.stdout == "[]\n"


def installed_python(folder: Path) -> Path:
    """A fresh environment in which hashscan and its libraries are those of these tests."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    (packages,) = folder.glob("lib/python*/site-packages")
    (packages / "hashscan.pth").write_text("\n".join(path for path in [str(ROOT), *sys.path] if path))
    return packages


def run_in(folder: Path, state: Path, *arguments: object) -> Ran:
    command = [str(folder / "bin" / "python"), "-m", "hashscan", *map(str, arguments)]
    done = subprocess.run(command, env=environment(state), capture_output=True, text=True, check=False)
    return Ran(done.returncode, done.stdout, done.stderr)


@pytest.mark.slow
def test_broken_plugins_stop_only_what_asks_for_them(tmp_path: Path) -> None:
    packages = installed_python(tmp_path / "env")
    add(packages, "dead", "raise RuntimeError('no')")
    rows = ROWS.format(kind="list format", name="wrong", target="hashscan.model:Verdict")
    add(packages, "wrong", DECLARATION.format(rows))
    state, file = tmp_path / "state", tmp_path / "file"
    file.write_bytes(b"x")
    shown = run_in(tmp_path / "env", state, "--version")
    assert shown.code == 0, shown.err
    assert [line.split()[1] for line in shown.out.splitlines() if "left out" in line] == ["dead", "wrong"]
    assert run_in(tmp_path / "env", state, "hash", file).code == 0
    for name in ("wrong", "dead-format"):
        ran = run_in(tmp_path / "env", state, "lists", "import", file, "--name", "x", "--format", name)
        assert (ran.code, "plug-in" in ran.err) == (2, True), ran.err


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_example_is_installed_by_pip_and_keeps_the_contracts(tmp_path: Path) -> None:
    env, state = tmp_path / "env", tmp_path / "state"
    packages = installed_python(env)
    pip = [sys.executable, "-m", "pip", "--python", env / "bin" / "python", "install", "--no-index"]
    # Copied, since the build writes beside what it builds.
    shutil.copytree(ROOT / "examples" / "plugin", tmp_path / "plugin")
    subprocess.run([*pip, "--no-deps", "--no-build-isolation", "--quiet", tmp_path / "plugin"], check=True)
    assert (packages / "hashscan_example").is_dir()
    ran = run_in(env, state, "--version")
    (line,) = [line for line in ran.out.splitlines() if "plug-in" in line]
    for added in (
        "picture hash blockmean",
        "list format semicolons",
        "report format paths",
        "exchange example-exchange",
        "matching service example-check",
        "source example",
    ):
        assert added in line
    assert "left out" not in line

    www = tmp_path / "www"
    www.mkdir()
    (www / "a.jpg").write_bytes(encoded(scene(21)))
    ran = run_in(env, state, "hash", www / "a.jpg", "--algorithm", "blockmean")
    assert ran.code == 0, ran.err
    entries = tmp_path / "entries"
    entries.write_text(f"blockmean;{ran.lines[0]['digests']['blockmean']};A1\n")
    ran = run_in(env, state, "lists", "import", entries, "--name", "ours", "--format", "semicolons")
    assert ran.code == 0, ran.err
    report, paths = tmp_path / "report.jsonl", tmp_path / "paths.txt"
    ran = run_in(env, state, "scan", f"example://{www}", "--report", report, "--report", paths)
    assert ran.code == 0, ran.err
    findings = [json.loads(line) for line in report.read_text().splitlines()]
    assert [record["verdict"] for record in findings if record["type"] == "finding"] == ["review"]
    assert str(www / "a.jpg") in paths.read_text()

    suites = [
        "tests/test_registry.py",
        "tests/lists/formats/test_formats.py",
        "tests/reports/test_formats.py",
    ]
    # Those of hashscan's own rows take minutes, and are tested without the plug-in.
    long_suites = ["tests/matching/test_remote_adapters.py", "tests/lists/exchanges/test_contract.py"]
    for chosen in (suites, [*long_suites, "-k", "example"]):
        done = subprocess.run(
            [env / "bin" / "python", "-m", "pytest", "-q", "-n", "0", "-p", "no:cacheprovider", *chosen],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
            env={key: value for key, value in os.environ.items() if not key.startswith("PYTEST_")},
        )
        assert done.returncode == 0, done.stdout[-4000:]

    # Without the plug-in, the list's entries are no longer matched, and that is an error of this list.
    for path in packages.glob("hashscan_example*"):
        shutil.rmtree(path)
    ran = run_in(env, state, "scan", www, "--report", "-")
    assert ran.code == 10, (ran.code, ran.err)
