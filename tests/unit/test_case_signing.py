"""Who may act on the page: how long a session lasts, what cannot be forged, and when keys may be tried again."""

import pytest

from streams.board.signing import (
    LONGEST_NAME,
    SESSION_S,
    SHORTEST_KEY,
    WRONG_KEYS,
    WRONG_WITHIN_S,
    WriteAccess,
    WrongKeys,
    name_of_person,
)
from streams.settings import ConfigError

KEY = "k" * SHORTEST_KEY


class Clock:
    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


def test_a_session_ends_by_itself_and_not_before() -> None:
    clock = Clock()
    access = WriteAccess(KEY, clock)
    session = {access.cookie: access.sign_in(KEY, "ندا & co")}
    clock.now += SESSION_S - 0.5
    assert access.who(session) == "ندا & co"
    clock.now += 0.5
    assert access.who(session) == ""


def test_a_session_is_whole_of_this_key_and_of_this_page() -> None:
    access, other = WriteAccess(KEY), WriteAccess("o" * SHORTEST_KEY)
    session = access.sign_in(KEY, "Neda")
    assert access.cookie != other.cookie
    assert other.who({other.cookie: session}) == ""
    assert access.who({other.cookie: session}) == ""
    said, _, mac = session.rpartition(".")
    later = f"{said[:-1]}{(int(said[-1]) + 1) % 10}.{mac}"
    for forged in ("", ".", mac, f"{said}.", f"{said}.{mac[:-1]}", f"{said}.é", later, f"00{session}"):
        assert access.who({access.cookie: forged}) == "", forged
    assert access.who({access.cookie: session}) == "Neda"


@pytest.mark.parametrize("key", ["", KEY[:-1], f"{KEY}k", KEY.upper(), "\udcff" * SHORTEST_KEY])
def test_another_key_signs_nobody_in(key: str) -> None:
    assert WriteAccess(KEY).sign_in(key, "Neda") == ""


def test_a_key_that_could_be_guessed_is_refused() -> None:
    with pytest.raises(ConfigError, match=f"has {SHORTEST_KEY - 1} characters, expected {SHORTEST_KEY} or more"):
        WriteAccess(KEY[:-1])


def test_after_so_many_wrong_keys_an_address_waits_and_no_other() -> None:
    clock = Clock()
    wrong = WrongKeys(clock)
    for _ in range(WRONG_KEYS):
        assert wrong.wait_s("a") == 0
        wrong.note("a")
        clock.now += 1
    assert (wrong.wait_s("a"), wrong.wait_s("b")) == (WRONG_WITHIN_S - WRONG_KEYS, 0)
    clock.now += WRONG_WITHIN_S - WRONG_KEYS
    assert wrong.wait_s("a") == 0
    wrong.note("a")
    assert wrong.wait_s("a") == 1, "the oldest of the last ones counts"


def test_of_many_addresses_those_that_tried_longest_ago_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("streams.board.signing._CLIENTS_KEPT", 2)
    wrong = WrongKeys(Clock())
    for client in ("a", "b", *"aaaa", "c"):
        wrong.note(client)
    assert wrong.wait_s("a") == WRONG_WITHIN_S
    for _ in range(WRONG_KEYS - 1):
        wrong.note("b")
    assert wrong.wait_s("b") == 0, "its first try is forgotten"


def test_a_name_is_one_line_of_what_is_seen() -> None:
    assert name_of_person("  Neda \n  K. ") == "Neda K."
    assert name_of_person("x" * LONGEST_NAME) == "x" * LONGEST_NAME
    for text in ("", " \t", "x" * (LONGEST_NAME + 1), "a\u202eb", "a\x00b"):
        assert name_of_person(text) == "", text
