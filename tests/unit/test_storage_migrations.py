"""Splitting statements and reading migration files."""

import re
from collections.abc import Sequence
from types import SimpleNamespace

import pytest

from streams.storage import migrations
from streams.storage.migrations import MigrationError, load, split_statements, views
from streams.storage.views import ViewFile, views_applied


@pytest.mark.parametrize(
    ("text", "statements"),
    [
        ("SELECT 1; SELECT 2;", ["SELECT 1", "SELECT 2"]),
        ("SELECT 1", ["SELECT 1"]),
        (" ;\n; ", []),
        ("SELECT ';'; SELECT 2", ["SELECT ';'", "SELECT 2"]),
        ("SELECT 'it''s; so'; SELECT 2", ["SELECT 'it''s; so'", "SELECT 2"]),
        (r"SELECT 'it\'s; so'; SELECT 2", [r"SELECT 'it\'s; so'", "SELECT 2"]),
        (r"SELECT 'ends\\'; SELECT 2", [r"SELECT 'ends\\'", "SELECT 2"]),
        ('SELECT 1 AS "a;b"; SELECT `c;d`', ['SELECT 1 AS "a;b"', "SELECT `c;d`"]),
        (
            "SELECT '-- no comment'; SELECT 2 -- a comment; with one\n + 1;",
            ["SELECT '-- no comment'", "SELECT 2 \n + 1"],
        ),
        ("-- only; a comment", []),
        ("-- don't split here;\nSELECT 1", ["SELECT 1"]),
        ("SELECT 1 /* one; two */ + 2; /* ' */ SELECT 3", ["SELECT 1   + 2", "SELECT 3"]),
        ("SELECT '/*'; SELECT '*/'", ["SELECT '/*'", "SELECT '*/'"]),
        ("SELECT $a$ it's; $a$; SELECT $$;$$", ["SELECT $a$ it's; $a$", "SELECT $$;$$"]),
        ("SELECT 'open; quote", ["SELECT 'open; quote"]),
        ("SELECT 1 - -1; SELECT 4 / 2", ["SELECT 1 - -1", "SELECT 4 / 2"]),
    ],
)
def test_statements_are_split_at_their_ends_only(text: str, statements: list[str]) -> None:
    """Quotes, heredocs and comments hide semicolons; comments go, quoted text stays."""
    assert split_statements(text) == statements


@pytest.mark.parametrize(
    ("names", "problem"),
    [
        ([], "no migrations"),
        (["0001_a.sql", "2_b.sql"], "2_b.sql: migrations are named"),
        (["0001_a.sql", "0003_c.sql"], "0003_c.sql: expected number 0002"),
        (["0001_a.sql", "0001_b.sql"], "0001_b.sql: expected number 0002"),
    ],
)
def test_a_folder_that_cannot_be_right_is_refused(tmp_path, names: list[str], problem: str) -> None:
    """The message names the file."""
    for name in names:
        (tmp_path / name).write_text("SELECT 1")
    with pytest.raises(MigrationError, match=re.escape(problem)):
        load(tmp_path)


def test_the_products_own_statements_may_be_repeated() -> None:
    """A file that failed half-way is run again from its start."""
    statements = [statement for file in (*load(), *views()) for statement in split_statements(file.text)]
    assert len(statements) >= 12
    for statement in statements:
        assert re.match(
            r"CREATE (TABLE|VIEW|MATERIALIZED VIEW) IF NOT EXISTS|CREATE OR REPLACE (VIEW|DICTIONARY)|ALTER TABLE"
            r"|INSERT INTO (kpi_spans|kpi_newest|kpi_newest_open)\n|DROP (VIEW|TABLE) IF EXISTS|SYSTEM REFRESH",
            statement,
        ), statement[:60]


LAST_WITH_VIEWS = 16


def test_views_are_defined_in_their_files_alone() -> None:
    """Newer numbered files are for tables and data: a view replaced there would be taken for drift."""
    for migration in load():
        for statement in split_statements(migration.text):
            created = re.match(r"CREATE OR REPLACE (?:VIEW|DICTIONARY) (\w+)", statement)
            assert created is None or migration.number <= LAST_WITH_VIEWS, (
                f"{migration.name}: sql/views/{created[1]}.sql"
            )


def test_every_view_comes_after_those_that_it_reads() -> None:
    """Whatever their names."""
    order = [view.name for view in views()]
    pairs = (
        "kpi_sums kpi_steps, step_bounds kpi_series, kpi_steps kpi_series, kpi_steps kpi, kpi kpi_over, kpi kpi_heat"
    )
    for earlier, later in map(str.split, pairs.split(",")):
        assert order.index(earlier) < order.index(later)


@pytest.mark.parametrize(
    ("files", "problem"),
    [
        ({"a": "SELECT 1"}, "views/a.sql: expected CREATE OR REPLACE VIEW a or DICTIONARY a first"),
        ({"a": "-- nothing"}, "views/a.sql: expected"),
        ({"a": "CREATE OR REPLACE VIEW b AS SELECT 1"}, "views/a.sql: expected"),
        (
            {
                "a": "CREATE OR REPLACE VIEW a AS SELECT * FROM {db}.b",
                "b": "CREATE OR REPLACE VIEW b AS SELECT * FROM a",
            },
            "views that read each other: ",
        ),
    ],
)
def test_view_files_that_cannot_be_right_are_refused(tmp_path, files: dict[str, str], problem: str) -> None:
    """The message names the file."""
    for name, text in files.items():
        (tmp_path / f"{name}.sql").write_text(text)
    with pytest.raises(MigrationError, match=re.escape(problem)):
        views(tmp_path)


class Ledger:
    """A client whose server has one lock and some views, and writes down what it is told."""

    def __init__(self, views: Sequence[str] = ()) -> None:
        self.views = list(views)
        self.holder: str | None = None
        self.told: list[str] = []
        self.noted: list[list[str]] = []

    def command(self, sql: str) -> None:
        self.told.append(sql)
        comment = re.search("COMMENT '(.*)'", sql)
        if sql.startswith("DROP"):
            self.holder = None
        elif comment is not None:
            self.holder = comment[1]

    def query(self, sql: str, _parameters: object = None) -> SimpleNamespace:
        if "SHA256" in sql:
            return SimpleNamespace(result_rows=[(name, "made") for name in self.views])
        return SimpleNamespace(result_rows=[] if self.holder is None else [(self.holder, 0)])

    def insert(self, _table: str, rows: list[list[str]], **_: object) -> None:
        self.noted += rows


def test_a_view_that_is_gone_before_it_is_noted_is_named_and_not_noted() -> None:
    server = Ledger(["a"])
    a, b = ViewFile("a", "SELECT 1"), ViewFile("b", "SELECT 2")
    assert views_applied(server, [a, b]) == [b]
    assert server.noted == [["a", a.checksum, "made"]]
    assert views_applied(server, []) == []


@pytest.mark.parametrize("other", ["held by elsewhere, process 7", None])
def test_a_migrator_that_was_taken_over_stops_and_leaves_the_other_alone(
    monkeypatch: pytest.MonkeyPatch, other: str | None
) -> None:
    monkeypatch.setattr(migrations, "_TOUCH_S", -1.0)
    server = Ledger()
    with migrations._alone(server, "cx", 0.0) as still_here:
        still_here()
        assert server.told[-1].startswith("ALTER TABLE migrating")
        server.holder = other
        with pytest.raises(MigrationError, match="another migrator has taken cx over"):
            still_here()
    assert server.holder == other
    assert not any(sql.startswith("DROP") for sql in server.told)


def test_a_migrator_that_is_left_alone_gives_its_lock_back() -> None:
    server = Ledger()
    with migrations._alone(server, "cx", 0.0) as still_here:
        mine = server.holder
        still_here()
    assert server.told[1:] == ["DROP TABLE IF EXISTS migrating SYNC"]
    with migrations._alone(server, "cx", 0.0):
        assert server.holder != mine, "two of one process are two"
