"""Splitting statements and reading migration files."""

import re

import pytest

from streams.storage.migrations import MigrationError, load, split_statements, views


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
