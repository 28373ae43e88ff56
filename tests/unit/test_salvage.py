"""How the rows that are to blame for a refused insert are found, and when it is not the rows."""

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.storage import salvage
from streams.storage.connection import RefusedRowsError
from streams.storage.salvage import MOST_SET_ASIDE, HeldSources, sift, store_each
from streams.storage.trouble import Troubles


class Server:
    """Takes what holds no poison."""

    def __init__(self, poison: set[int], *, by_server: bool = True) -> None:
        self.poison, self.by_server = poison, by_server
        self.stored: list[int] = []
        self.inserts = 0

    def send(self, rows: Sequence[int]) -> None:
        self.inserts += 1
        if self.poison.intersection(rows):
            raise RefusedRowsError("poison", by_server=self.by_server)
        self.stored += rows


@given(number=st.integers(1, 600), poison=st.sets(st.integers(0, 599), max_size=12))
def test_exactly_the_poison_is_found_and_all_else_is_stored_once(number: int, poison: set[int]) -> None:
    server = Server(poison := {row for row in poison if row < number})
    found = sift(range(number), server.send, MOST_SET_ASIDE)
    assert found.over is None
    assert {row for row, _ in found.refused} == poison
    assert sorted(server.stored) == [row for row in range(number) if row not in poison]
    assert server.inserts <= 1 + 2 * len(poison) * 10, "halving, not one by one"
    assert found.taken is (len(poison) < number)


@pytest.mark.parametrize("number", [20, 20_000])
def test_where_nothing_is_taken_few_inserts_tell(number: int) -> None:
    server = Server(set(range(number)))
    found = sift(range(number), server.send, MOST_SET_ASIDE)
    assert found.over == "not one of 16 parts is taken: poison"
    assert server.inserts <= 2 * salvage.ENOUGH_REFUSED


def test_more_rows_than_may_be_are_not_set_aside() -> None:
    server = Server(set(range(0, 10_000, 50)))
    found = sift(range(20_000), server.send, MOST_SET_ASIDE)
    assert found.over == "more than 100 rows are refused, the last time: poison"
    assert server.inserts < 1_000


def test_a_row_that_breaks_the_connection_is_never_set_aside() -> None:
    """It may be the network."""
    found = sift(range(8), Server({3}, by_server=False).send, MOST_SET_ASIDE)
    assert found.over == "the connection breaks whenever a certain row is sent: poison"
    assert found.refused == []


def test_what_is_stored_meanwhile_is_not_sent_again() -> None:
    """An answer that was lost, and years that are stored one by one."""
    server = Server({7})
    stored = {0, 1, 2}
    found = sift(range(8), server.send, MOST_SET_ASIDE, lambda rows: [row for row in rows if row not in stored])
    assert sorted(server.stored) == [3, 4, 5, 6]
    assert [row for row, _ in found.refused] == [7]


def test_a_table_is_held_with_growing_pauses_and_told_until_it_takes_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [100.0]
    monkeypatch.setattr(salvage.time, "monotonic", lambda: clock[0])
    troubles = Troubles()
    holds = HeldSources(troubles)
    server = Server({1})

    def store() -> list[salvage.SetAside]:
        return store_each("alerts", [1], "token", lambda rows, _name: server.send(rows), holds)

    pauses = []
    for _ in range(8):
        with pytest.raises(RefusedRowsError):
            store()
        pauses.append(holds.sources["alerts", 0].pause_s)
        asked = server.inserts
        with pytest.raises(RefusedRowsError):
            store()
        assert server.inserts == asked, "not before its pause is over"
        clock[0] += pauses[-1]
        assert holds.any_due()
    assert pauses == [2, 4, 8, 16, 32, 64, 120, 120]
    [trouble] = troubles.current()
    assert (trouble.what, trouble.held) == ("alerts", True)
    server.poison = set()
    assert store() == []
    assert troubles.current() == []


def test_no_more_than_so_many_rows_an_hour_are_set_aside(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [100.0]
    monkeypatch.setattr(salvage.time, "monotonic", lambda: clock[0])
    holds = HeldSources(Troubles())
    server = Server({-1})

    def store(poison: int, number: int) -> int:
        rows = [-1 if n < poison else n for n in range(number)]
        return len(store_each("alerts", rows, "token", lambda part, _name: server.send(part), holds))

    assert store(60, 200) == 60
    with pytest.raises(RefusedRowsError, match="more than 40 rows are refused"):
        store(60, 200)
    clock[0] += salvage.SET_ASIDE_S
    assert store(60, 200) == 60
