"""A restart takes up the copy of a changelog, and has what it would have if it had read the changelog from its start."""

import asyncio
import shutil
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import NamedTuple

import pytest
from faust.types import TP
from hypothesis import given, settings
from hypothesis import strategies as st

from streams.engine import BatchApp, StaleGenerationError
from streams.engine import copies as module
from streams.engine.copies import ChangelogCopies, LogChange
from streams.engine.fence import Fence, PartitionLog
from streams.engine.state import FencedTable, copy_changes

LOG = "copied-state-changelog"
IDS = {LOG: "id-1"}
OWNER = Fence(3, 7)


class Record(NamedTuple):
    """What the consumer gives of a changelog record."""

    offset: int
    key: bytes
    value: bytes | None
    headers: tuple[tuple[str, bytes], ...]


def record(offset: int, key: bytes, value: bytes | None, owner: Fence = OWNER) -> Record:
    return Record(offset, b"0/" + key, value, (owner.header(),))


def table_of(copies: ChangelogCopies | None = None) -> FencedTable:
    table = BatchApp("copied", brokers="127.0.0.1:1", partitions=1).fenced_table("state")
    if copies is not None:
        table.copy_to(copies)
        table.recall(0)
    return table


def content(table: FencedTable) -> tuple[dict[bytes, bytes], int | None]:
    return dict(table.load(0)), table.read_until(TP(LOG, 0))


def file_in(folder: Path) -> Path:
    return folder / "changelogs"


@st.composite
def logs(draw: st.DrawFn) -> list[Record]:
    """Few keys, many values, deleted ones, gaps between offsets, and owners that write behind the next one's claim."""
    found, offset = [], -1
    for _ in range(draw(st.integers(1, 20))):
        offset += draw(st.integers(1, 3))
        key, value = draw(st.sampled_from([b"a", b"b", b"c"])), draw(st.none() | st.binary(max_size=2))
        found.append(record(offset, key, value, Fence(draw(st.integers(1, 3)), 1)))
    # Counts only where nobody but the first one has ever owned it.
    return [*found, record(offset + 1, b"last", b"of the first owner", Fence(1, 1))]


@settings(max_examples=60, deadline=None)
@given(logs(), st.data())
def test_a_copy_and_what_comes_behind_it_are_the_whole_log(
    tmp_path_factory: pytest.TempPathFactory, log: list[Record], data: st.DataObject
) -> None:
    """Killed after any record, copied after any other, and reading again what it had: always the same."""
    whole = table_of()
    whole.absorb(0, log)
    file = file_in(tmp_path_factory.mktemp("copies"))
    copies = ChangelogCopies(file, IDS)
    table, read = table_of(copies), 0
    while read < len(log):
        step = data.draw(st.integers(1, 8))
        table.absorb(0, log[read : read + step])
        read += step
        if data.draw(st.booleans()):
            asyncio.run(copy_changes([table], copies))
        if data.draw(st.booleans()):
            copies.close()
            copies = ChangelogCopies(file, IDS)
            table = table_of(copies)
            upto = content(table)[1] or 0
            # Reading begins with the last record that is held.
            read = next((number for number, one in enumerate(log) if one.offset >= upto - 1), len(log))
    assert content(table) == content(whole)
    copies.close()


def test_whoever_is_killed_while_copying_leaves_what_was_or_what_will_be(tmp_path: Path) -> None:
    """The files as they are before each statement of the second copy, and at its end."""
    before = {b"%d" % number: b"old" for number in range(2_000)}
    after = {key: b"new" * 99 for key in before if key[-1:] != b"7"}
    copies = ChangelogCopies(file_in(tmp_path), IDS)
    copies.keep([LogChange(LOG, 0, 2_000, OWNER, [*before.items()])])
    change = LogChange(LOG, 0, 5_000, OWNER.after(1, 8), [(key, after.get(key)) for key in before])
    moments = 0

    def look(_statement: str) -> None:
        nonlocal moments
        moments += 1
        if moments % 97 == 1:  # each of some thousand would take long
            taken = tmp_path / str(moments)
            taken.mkdir()
            for file in tmp_path.glob("changelogs*"):
                shutil.copy(file, taken)

    copies._database.execute("PRAGMA cache_spill = 1")
    copies._database.execute("PRAGMA cache_size = 5")
    copies._database.set_trace_callback(look)
    copies.keep([change])
    copies._database.set_trace_callback(None)
    look("the end")
    copies.close()
    found = []
    for folder in sorted(filter(Path.is_dir, tmp_path.iterdir()), key=lambda one: int(one.name)):
        held = ChangelogCopies(file_in(folder), IDS)
        found.append(held.load(LOG, 0))
        held.close()
    old, new = PartitionLog(before, 2_000, OWNER), PartitionLog(after, 5_000, OWNER.after(1, 8))
    assert old in found
    assert all(one in (old, new) for one in found)
    end = ChangelogCopies(file_in(tmp_path), IDS)
    assert end.load(LOG, 0) == new
    end.close()


def test_a_topic_that_was_made_anew_has_no_copy(tmp_path: Path) -> None:
    copies = ChangelogCopies(file_in(tmp_path), {**IDS, "other": "id-2"})
    copies.keep([LogChange(name, 0, 1, OWNER, [(b"a", b"1")]) for name in (LOG, "other")])
    copies.close()
    copies = ChangelogCopies(file_in(tmp_path), {LOG: "id-3", "other": "id-2"})
    assert copies.load(LOG, 0) is None
    assert copies.load("other", 0) == PartitionLog({b"a": b"1"}, 1, OWNER)
    copies.keep([LogChange(LOG, 0, 9, OWNER, [(b"b", b"2")])])
    assert copies.load(LOG, 0) == PartitionLog({b"b": b"2"}, 9, OWNER)
    copies.close()


def test_a_topic_of_which_no_id_is_known_has_no_copy(tmp_path: Path) -> None:
    copies = ChangelogCopies(file_in(tmp_path), {LOG: ""})
    copies.keep([LogChange(LOG, 0, 1, OWNER, [(b"a", b"1")])])
    copies.close()
    copies = ChangelogCopies(file_in(tmp_path), {LOG: ""})
    assert copies.load(LOG, 0) is None
    copies.close()


def test_what_is_deleted_is_in_no_file(tmp_path: Path) -> None:
    """While the worker runs: it may be what somebody asked to be forgotten."""
    copies = ChangelogCopies(file_in(tmp_path), IDS)
    for value in (b"v" * 500, None):
        copies.keep([LogChange(LOG, 0, 10, OWNER, [(b"customer-4711/%d" % n, value) for n in range(100)])])
    assert not any(b"customer-4711" in file.read_bytes() for file in tmp_path.iterdir())
    copies.close()


def test_a_claim_that_a_rebalance_overtakes_changes_nothing_that_was_taken_from_a_copy(tmp_path: Path) -> None:
    """Else it would go on behind what it never read, and the copy with it."""
    copies = ChangelogCopies(file_in(tmp_path), IDS)
    table = table_of(copies)
    table.absorb(0, [record(0, b"a", b"1")])
    asyncio.run(copy_changes([table], copies))
    table.absorb(0, [record(1, b"b", b"2")])

    class Moving:
        """An application whose partitions move on while a claim reads what the owner before has written."""

        lease = SimpleNamespace(generation=4)
        over = False

        def require_live(self, generation: int) -> None:
            if self.over:
                raise StaleGenerationError(f"{generation} is over")

        async def produce(self, _: int, sent: Sequence[object]) -> list[int]:
            return [3 for _ in sent]

        async def read_back(self, *_: object) -> list[Record]:
            self.over = True
            table.keep_only([0])
            table.recall(0)
            return [record(2, b"late", b"3")]

    table._app = Moving()  # type: ignore[assignment]
    with pytest.raises(StaleGenerationError):
        asyncio.run(table.claim(4, [0]))
    assert content(table) == ({b"a": b"1"}, 1), "reading goes on behind the copy"
    assert table.changes() == []
    copies.close()


def test_a_file_that_cannot_be_read_is_made_anew(tmp_path: Path) -> None:
    file_in(tmp_path).write_bytes(b"no database, " * 1_000)
    copies = ChangelogCopies(file_in(tmp_path), IDS)
    assert copies.load(LOG, 0) is None
    copies.keep([LogChange(LOG, 0, 1, OWNER, [(b"a", b"1")])])
    assert copies.load(LOG, 0) == PartitionLog({b"a": b"1"}, 1, OWNER)
    copies.close()
    assert file_in(tmp_path).stat().st_mode & 0o777 == 0o600


def test_a_file_with_other_tables_is_made_anew(tmp_path: Path) -> None:
    """As another version of the worker has left it."""
    with closing(sqlite3.connect(file_in(tmp_path))) as database:
        database.execute("CREATE TABLE topics (name TEXT PRIMARY KEY)")
        database.commit()
    copies = ChangelogCopies(file_in(tmp_path), IDS)
    copies.keep([LogChange(LOG, 0, 1, OWNER, [(b"a", b"1")])])
    copies.close()
    copies = ChangelogCopies(file_in(tmp_path), IDS)
    assert copies.load(LOG, 0) == PartitionLog({b"a": b"1"}, 1, OWNER)
    copies.close()


def test_a_damaged_page_stops_nobody(tmp_path: Path) -> None:
    """While the worker runs it reads all of the changelog instead; the next start makes the file anew."""
    copies = ChangelogCopies(file_in(tmp_path), IDS)
    copies.keep([LogChange(LOG, 0, 9, OWNER, [(b"%d" % n, b"v" * 500) for n in range(200)])])
    copies.close()
    content_ = bytearray(file_in(tmp_path).read_bytes())
    middle = len(content_) // 2 // 4096 * 4096
    content_[middle : middle + 4096] = bytes(4096)
    file_in(tmp_path).write_bytes(content_)
    copies = ChangelogCopies(file_in(tmp_path), IDS)
    assert copies.load(LOG, 0) is None
    copies.close()
    table = table_of()
    table.copy_to(copies)
    table.recall(0)
    assert content(table) == ({}, None)


def test_a_second_process_has_no_copy_and_changes_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_LOCKED_S", 0.0)
    copies = ChangelogCopies(file_in(tmp_path), IDS)
    copies.keep([LogChange(LOG, 0, 1, OWNER, [(b"a", b"1")])])
    with pytest.raises(sqlite3.OperationalError, match="locked"):
        ChangelogCopies(file_in(tmp_path), {LOG: "id-2"})
    assert copies.load(LOG, 0) == PartitionLog({b"a": b"1"}, 1, OWNER)
    copies.close()


def test_what_could_not_be_copied_is_copied_the_next_time(tmp_path: Path) -> None:
    copies, full = ChangelogCopies(file_in(tmp_path), IDS), ChangelogCopies(tmp_path / "full", IDS)
    full.close()
    table = table_of(copies)
    table.absorb(0, [record(0, b"a", b"1"), record(1, b"b", b"2")])
    with pytest.raises(sqlite3.Error):
        asyncio.run(copy_changes([table], full))
    table.absorb(0, [record(2, b"b", None)])
    asyncio.run(copy_changes([table], copies))
    assert table.changes() == []
    assert copies.load(LOG, 0) == PartitionLog({b"a": b"1"}, 3, OWNER)
    copies.close()


def test_nothing_uncertain_is_copied_or_kept(tmp_path: Path) -> None:
    """A claim that did not come to its end: memory may have an owner of whom the log says nothing."""
    copies = ChangelogCopies(file_in(tmp_path), IDS)
    table = table_of(copies)
    table.absorb(0, [record(0, b"a", b"1")])
    asyncio.run(copy_changes([table], copies))
    table.absorb(0, [record(1, b"a", b"2")])
    with pytest.raises(StaleGenerationError):
        asyncio.run(table.claim(1, [0]))
    assert table.changes() == []
    table.keep_only([0])
    assert content(table) == ({}, None)
    table.recall(0)
    assert content(table) == ({b"a": b"1"}, 1)
    table.absorb(0, [record(0, b"a", b"1"), record(1, b"a", b"2")])
    assert [change.entries for change in table.changes()] == [[(b"a", b"2")]]
    copies.close()
