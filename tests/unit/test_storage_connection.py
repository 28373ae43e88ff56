"""What a server's answer is taken for."""

import pytest
from clickhouse_connect.driver.exceptions import OperationalError
from clickhouse_connect.driver.query import QueryResult

from streams.storage.connection import UnreachableError, _attentive, explain


def test_rows_that_were_lost_on_their_way_are_a_failure_that_passes() -> None:
    """A server with a full disk answers that all is well, and sends nothing."""
    lost = QueryResult([])
    lost.summary = {"result_rows": "1"}
    with pytest.raises(OperationalError, match="made 1 rows and sent none") as failed:
        _attentive(lambda _sql: lost)("SELECT 1")
    assert isinstance(explain(failed.value, "asking what is stored"), UnreachableError)


@pytest.mark.parametrize(("rows", "made"), [([], "0"), ([(1,)], "1"), ([(1,)], "0")])
def test_other_answers_are_what_they_are(rows: list[tuple[int]], made: str) -> None:
    answer = QueryResult(rows)
    answer.summary = {"result_rows": made}
    assert _attentive(lambda _sql: answer)("SELECT 1").result_rows == rows
