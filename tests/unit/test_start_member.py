"""The membership of a killed worker is found by the next one in its folder, that of a living one by nobody."""

import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from streams.start.check import StartRefusedError
from streams.start.member import MemberFile, run_alone

OWNER = """
import sys
from contextlib import closing
from pathlib import Path
import pytest

from streams.start.check import StartRefusedError
from streams.start.member import MemberFile, run_alone
file = MemberFile(Path(sys.argv[1]))
for member in sys.argv[2:]:
    file.note(member)
print("noted", flush=True)
sys.stdin.read()
"""


def test_a_killed_owner_is_found_and_a_living_one_is_not(tmp_path: Path) -> None:
    path = tmp_path / "member"
    command = [sys.executable, "-c", OWNER, str(path), "a-longer-name-of-a-member", "its-last"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as owner:
        assert owner.stdout
        owner.stdout.readline()
        with closing(MemberFile(path)) as beside:
            beside.note("somebody else's")
            assert beside.before == ""
        owner.kill()
    with closing(MemberFile(path)) as after:
        assert after.before == "its-last"


def test_there_is_one_only_worker_in_a_folder(tmp_path: Path) -> None:
    path = tmp_path / "cx.sole"
    code = f"from streams.start.member import *; held = run_alone(Path({str(path)!r})); print(1, flush=True); input()"
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as first:
        assert first.stdout
        assert first.stdout.readline() == b"1\n"
        with pytest.raises(StartRefusedError, match=f"another worker runs with {tmp_path}, and CX_SOLE_WORKER says"):
            run_alone(path, 0.1)
        first.kill()
        run_alone(path).close()


def test_where_nobody_was_nothing_is_given_back(tmp_path: Path) -> None:
    with closing(MemberFile(tmp_path / "member")) as first:
        assert first.before == ""
