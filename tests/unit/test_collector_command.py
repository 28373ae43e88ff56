"""`cx collect` before it serves: what it says, and with which code it ends."""

import socket
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from streams.cli import main
from streams.collector.access import read_keys


def cx(*words: str, **environment: str) -> Result:
    return CliRunner().invoke(main, ["collect", *words], env=environment)


def test_help_names_address_modes_and_codes() -> None:
    text = cx("--help").output
    for said in ("/v1/events", "CloudEvents", "CX_COLLECT_KEYS_FILE", "Exit codes: 0"):
        assert said in text


def test_a_new_key_is_shown_with_its_entry(tmp_path: Path) -> None:
    done = cx("--new-key", "call-centre")
    assert done.exit_code == 0
    file = tmp_path / "keys.toml"
    file.write_text(done.output)
    assert set(read_keys(file)) == {"call-centre"}


@pytest.mark.parametrize(
    ("environment", "said"),
    [
        ({"CX_COLLECT_HOST": "0.0.0.0"}, "nobody may send without a key"),
        ({"CX_COLLECT_KEYS_FILE": "absent.toml"}, "cannot read 'absent.toml'"),
        ({"CX_COLLECT_ORIGINS": "*"}, "'*' is no origin"),
        ({"CX_COLLECT_TIMEOUT_S": "0"}, "collect_timeout_s = '0'"),
        ({"CX_COLECT_PORT": "1"}, "did you mean 'collect_port'"),
    ],
)
def test_wrong_settings_end_it_with_two(environment: dict[str, str], said: str) -> None:
    done = cx(**environment)
    assert done.exit_code == 2
    assert said in done.output


def test_a_port_that_is_taken_ends_it_with_one() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        done = cx("--port", port)
        assert done.exit_code == 1
        assert f"cannot listen at 127.0.0.1:{port}" in done.output
        done = cx("--port", "0", CX_COLLECT_METRICS_PORT=port)
        assert done.exit_code == 1
        assert f"127.0.0.1:{port}" in done.output
