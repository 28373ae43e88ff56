"""The bootstrap: what it decides, what it survives, and what it tells, without network."""

import ast
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from streams import bootstrap
from streams.bootstrap import DEV_LOCK, LOCAL_LOCK, BootstrapError, Environment, Stamp, State, decide

HERE = "/clone/.venv"
WANTED = {LOCAL_LOCK: "new", DEV_LOCK: "dev"}


@pytest.mark.parametrize(
    ("python", "stamp", "expected"),
    [
        ("", None, State.CREATE),
        ("", Stamp("3.11", HERE, WANTED), State.CREATE),
        ("3.11", Stamp(installing=LOCAL_LOCK), State.CREATE),
        ("3.11", Stamp("3.11", HERE, WANTED, installing=DEV_LOCK), State.CREATE),
        ("3.12", Stamp("3.11", HERE, WANTED), State.CREATE),
        ("3.11", Stamp("3.11", "/elsewhere/.venv", WANTED), State.CREATE),
        ("3.11", None, State.INSTALL),
        ("3.11", Stamp("3.11", HERE), State.INSTALL),
        ("3.11", Stamp("3.11", HERE, {LOCAL_LOCK: "old"}), State.INSTALL),
        ("3.11", Stamp("3.11", HERE, {"requirements.lock": "new"}), State.INSTALL),
        ("3.11", Stamp("3.11", HERE, {LOCAL_LOCK: "new"}), State.READY),
        ("3.11", Stamp("3.11", HERE, {LOCAL_LOCK: "old", DEV_LOCK: "dev"}), State.READY),
    ],
)
def test_the_table_of_states(python: str, stamp: Stamp | None, expected: State) -> None:
    """Every row of the table in the module's docstring."""
    assert decide(python, HERE, stamp, WANTED) is expected


@pytest.fixture
def clone(tmp_path: Path) -> Environment:
    """Return the environment of a clone with locks that install nothing, so that the real pip needs no network."""
    for name in (LOCAL_LOCK, DEV_LOCK):
        (tmp_path / name).write_text(f"# {name}: nothing\n", encoding="utf-8")
    return Environment(tmp_path)


@pytest.fixture
def no_install(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """Keep pip from being run; return the commands that would have been."""
    commands: list[list[str]] = []
    real = Environment._run

    def run(self: Environment, command: list[str], *args: object, **kwargs: object) -> str:
        if "install" in command:
            commands.append(list(command))
            return ""
        return real(self, command, *args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(Environment, "_run", run)
    return commands


def stamp_of(environment: Environment) -> dict[str, object]:
    return json.loads((environment.path / "cx-stamp.json").read_text(encoding="utf-8"))


def test_a_bare_clone_becomes_ready_and_stays_so(clone: Environment, no_install: list[list[str]]) -> None:
    """A real environment is made, its Python finds the clone, and the second call does nothing."""
    clone.prepare(LOCAL_LOCK)
    assert clone.state(LOCAL_LOCK) is State.READY
    assert clone.state(DEV_LOCK) is State.INSTALL
    found = subprocess.run(
        [clone.python, "-c", "import sys; print(sys.path)"], capture_output=True, text=True, check=True
    )
    assert str(clone.root) in found.stdout
    assert os.access(clone.path / "bin" / "cx", os.X_OK)
    clone.prepare(LOCAL_LOCK)
    assert len(no_install) == 1
    assert {"--require-hashes", "--only-binary", "--no-deps"} <= set(no_install[0])


def test_what_is_used_is_compiled_though_nobody_may_do_so_later(
    clone: Environment, no_install: list[list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    for name in ("streams/commands/worker", "streams/commands/up", "holidays/countries"):
        file = clone.root / f"{name}.py"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
    clone.prepare(LOCAL_LOCK)
    assert [file.name.partition(".")[0] for file in clone.root.glob("streams/commands/__pycache__/worker.*")] == [
        "worker"
    ]


@pytest.mark.slow
def test_a_changed_lock_is_installed_into_the_same_environment(clone: Environment, no_install: list[list[str]]) -> None:
    """What else is in the environment survives a new lock."""
    clone.prepare(LOCAL_LOCK)
    (clone.path / "mine").touch()
    (clone.root / LOCAL_LOCK).write_text("# other\n", encoding="utf-8")
    assert clone.state(LOCAL_LOCK) is State.INSTALL
    clone.prepare(LOCAL_LOCK)
    assert len(no_install) == 2
    assert (clone.path / "mine").exists()


def test_an_install_that_was_cut_off_starts_afresh(clone: Environment, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed in the middle of pip, nothing of that environment is used again."""

    def killed(self: Environment, command: list[str], *args: object, **kwargs: object) -> str:
        if "install" in command:
            raise KeyboardInterrupt
        return real(self, command, *args, **kwargs)  # type: ignore[arg-type]

    real = Environment._run
    with monkeypatch.context() as patch:
        patch.setattr(Environment, "_run", killed)
        with pytest.raises(KeyboardInterrupt):
            clone.prepare(LOCAL_LOCK)
    assert stamp_of(clone)["installing"] == LOCAL_LOCK
    (clone.path / "half").touch()
    assert clone.state(LOCAL_LOCK) is State.CREATE
    clone._create()
    assert not (clone.path / "half").exists()


@pytest.mark.slow
@pytest.mark.parametrize("content", ["", "[]", '{"unknown": 1}', "{"])
def test_a_damaged_stamp_is_no_stamp_to_trust(clone: Environment, no_install: list[list[str]], content: str) -> None:
    """Anything but a whole stamp means: make the environment anew."""
    clone.prepare(LOCAL_LOCK)
    (clone.path / "cx-stamp.json").write_text(content, encoding="utf-8")
    assert clone.state(LOCAL_LOCK) is State.CREATE


def test_an_environment_whose_python_is_gone_is_made_again(clone: Environment, no_install: list[list[str]]) -> None:
    """A Python removed by the system's upgrade leaves a dangling link."""
    clone.prepare(LOCAL_LOCK)
    clone.python.unlink()
    clone.python.symlink_to("/nonexistent/python")
    assert clone.state(LOCAL_LOCK) is State.CREATE


def test_a_failed_child_is_told_with_its_last_words(clone: Environment) -> None:
    """The error names the step, the exit code, the log, and repeats the end of the output."""
    with pytest.raises(BootstrapError, match=r"(?s)baking failed with exit code 3.*no flour") as caught:
        clone._run([sys.executable, "-c", "print('no flour'); raise SystemExit(3)"], "baking")
    assert str(clone.log) in str(caught.value)
    assert "no flour" in clone.log.read_text(encoding="utf-8")


def test_without_any_pip_the_user_is_told_what_to_install(clone: Environment, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither pip nor ensurepip: one sentence instead of a traceback."""
    clone._create()
    clone.python.unlink()
    clone.python.write_text("#!/bin/sh\necho No module named ensurepip\nexit 1\n")
    clone.python.chmod(0o755)
    monkeypatch.setattr(bootstrap, "_pip_version", lambda command: (21, 0))
    with pytest.raises(BootstrapError, match="apt install python3-pip"):
        clone._pip()


def test_two_first_runs_make_one_environment(clone: Environment, tmp_path: Path) -> None:
    """Two processes at once: the second waits for the first and installs nothing."""
    go = tmp_path / "go"
    program = (
        "import sys, time\n"
        "from pathlib import Path\n"
        "from streams.bootstrap import Environment\n"
        "real = Environment._run\n"
        "def run(self, command, *args, **kwargs):\n"
        "    if 'install' not in command: return real(self, command, *args, **kwargs)\n"
        "    print('installs', flush=True)\n"
        f"    while not Path({str(go)!r}).exists(): time.sleep(0.02)\n"
        "    return ''\n"
        "Environment._run = run\n"
        f"Environment(Path({str(clone.root)!r})).prepare({LOCAL_LOCK!r})\n"
    )
    told = [tmp_path / "first", tmp_path / "second"]
    children = []
    for path in told:
        with path.open("wb") as errors:
            command = [sys.executable, "-c", program]
            children.append(
                subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True, cwd=bootstrap.ROOT)
            )
    deadline = time.monotonic() + 180
    while not any("waiting for it" in path.read_text() for path in told):
        assert time.monotonic() < deadline, [path.read_text() for path in told]
        time.sleep(0.02)
    go.touch()
    said = [(child.communicate(timeout=180)[0], path.read_text()) for child, path in zip(children, told, strict=True)]
    assert [child.returncode for child in children] == [0, 0], said
    assert sum(out.count("installs") for out, _ in said) == 1
    assert sum("waiting for it" in err for _, err in said) == 1
    assert clone.state(LOCAL_LOCK) is State.READY


@pytest.mark.parametrize(
    ("line", "step"),
    [
        ("  Downloading chdb_core-26.9.0-cp39-abi3-manylinux.whl (181.5 MB)\n", "fetching chdb_core, 181.5 MB"),
        ("Downloading six-1.17.0-py2.py3-none-any.whl (0.1 MB)\n", ""),
        ("Downloading click-8.3.3-py3-none-any.whl (110 kB)\n", ""),
        ("Installing collected packages: six, click, rich\n", "unpacking 3 packages"),
        ("Collecting click==8.3.3\n", ""),
    ],
)
def test_pip_talks_much_and_the_user_hears_what_takes_time(line: str, step: str) -> None:
    """Only large downloads and the unpacking are worth a line."""
    assert bootstrap.pip_step(line) == step


@pytest.mark.parametrize(("argv", "lock"), [(["test", "-k", "x"], DEV_LOCK), (["up"], LOCAL_LOCK), ([], LOCAL_LOCK)])
def test_only_the_tests_need_the_tools(monkeypatch: pytest.MonkeyPatch, argv: list[str], lock: str) -> None:
    """`test` asks for the development lock, everything else for less; then the environment's Python takes over."""
    asked: list[str] = []
    ran: list[list[str]] = []
    monkeypatch.setattr(Environment, "state", lambda self, name: State.INSTALL)
    monkeypatch.setattr(Environment, "prepare", lambda self, name: asked.append(name))
    monkeypatch.setattr(os, "execv", lambda path, command: ran.append(command))
    bootstrap.main(argv)
    assert asked == [lock]
    assert ran == [[str(Environment().python), "-m", "streams", *argv]]


def test_a_bootstrap_error_is_a_sentence_and_exit_code_1(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """No traceback for what the user can mend."""

    def fail(self: Environment, lock: str) -> None:
        raise BootstrapError("no flour")

    monkeypatch.setattr(Environment, "state", lambda self, name: State.CREATE)
    monkeypatch.setattr(Environment, "prepare", fail)
    assert bootstrap.main(["up"]) == 1
    assert "no flour" in capsys.readouterr().err


def test_it_starts_with_the_standard_library_alone() -> None:
    """Nothing may be imported at the top that a bare Python does not have."""
    for name in ("__init__.py", "__main__.py", "bootstrap.py"):
        tree = ast.parse((bootstrap.ROOT / "streams" / name).read_text(encoding="utf-8"))
        imported = {alias.name for node in tree.body if isinstance(node, ast.Import) for alias in node.names} | {
            node.module or "" for node in tree.body if isinstance(node, ast.ImportFrom)
        }
        foreign = {name for name in imported if name.partition(".")[0] not in sys.stdlib_module_names | {"streams"}}
        assert not foreign


def test_an_old_python_gets_past_the_syntax_to_the_sentence() -> None:
    """Python 3.8 must be able to parse what stands before the version check."""
    for name in ("__init__.py", "__main__.py"):
        ast.parse((bootstrap.ROOT / "streams" / name).read_text(encoding="utf-8"), feature_version=(3, 8))
