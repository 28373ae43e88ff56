"""What holds for every data set: order, identity, reports, files; and the Persian calendar."""

import gzip
import json
from datetime import date
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from streams.producers.readers import DATA_SETS, DataSetError, ReadReport, Touch, read
from streams.producers.readers.base import BadRowError, event_id, local_time, number_of, spread
from streams.producers.readers.jalali import is_leap, to_gregorian

REES46 = """event_time,event_type,product_id,category_id,category_code,brand,price,user_id,user_session
2019-10-01 00:00:09 UTC,view,1,9,furniture.sofa,lux,41.16,77,s1
2019-10-01 00:00:08 UTC,view,2,9,,,10,78,s2
2019-10-01 00:00:08 UTC,view,2,9,,,10,78,s2
"""


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def decoded(touches: list[Touch]) -> list[dict]:
    return [json.loads(touch.value) for touch in touches]


def test_events_come_in_the_order_of_their_times(tmp_path):
    touches = list(read("rees46", write(tmp_path / "s.csv", REES46)))
    assert [touch.time for touch in touches] == [1569888008.0, 1569888008.0, 1569888009.0]
    assert [event["data"]["product"] for event in decoded(touches)] == ["2", "2", "1"]


def test_reading_again_gives_the_same_bytes_and_like_rows_stay_two_events(tmp_path):
    path = write(tmp_path / "s.csv", REES46)
    first, second = list(read("rees46", path)), list(read("rees46", path))
    assert first == second
    assert len({event["id"] for event in decoded(first)}) == 3


def test_an_event_id_is_pinned_so_that_replays_of_today_are_duplicates_of_yesterdays():
    assert event_id("olist", "cx.order.placed", "abc") == "d54f103a-70ba-5d76-880e-daf29b642925"
    assert event_id("olist", "cx.order.placed", "abc") != event_id("airbnb", "cx.order.placed", "abc")
    assert event_id("a", "bc") != event_id("ab", "c")


def test_touch_carries_the_routing_of_its_event(tmp_path):
    touch = next(read("rees46", write(tmp_path / "s.csv", REES46)))
    event = json.loads(touch.value)
    assert (touch.channel, touch.subject) == (event["channel"], event["subject"]) == ("web", "rees46-78")
    assert event["source"] == "/datasets/rees46"


def test_a_set_is_found_as_file_folder_or_root(tmp_path):
    folder = tmp_path / DATA_SETS["rees46"].folder
    folder.mkdir()
    file = write(folder / "2019-Oct-sample.csv", REES46)
    assert list(read("rees46", file)) == list(read("rees46", folder)) == list(read("rees46", tmp_path))


def test_gzip_and_byte_order_mark_are_read_alike(tmp_path):
    plain = list(read("rees46", write(tmp_path / "s.csv", REES46)))
    packed = tmp_path / "s.csv.gz"
    packed.write_bytes(gzip.compress(REES46.encode("utf-8-sig")))
    assert list(read("rees46", packed)) == plain


def test_a_set_that_cannot_be_read_says_what_is_wrong(tmp_path):
    with pytest.raises(DataSetError, match=r"no data set 'nosuch'.*olist"):
        read("nosuch", tmp_path)
    with pytest.raises(DataSetError, match=r"no 2019-Oct-sample\.csv"):
        read("rees46", tmp_path)
    with pytest.raises(DataSetError, match="no column price"):
        read("rees46", write(tmp_path / "a.csv", REES46.replace("price", "cost")))
    with pytest.raises(DataSetError, match="no column event_time"):
        read("rees46", write(tmp_path / "e.csv", ""))
    latin = tmp_path / "l.csv"
    latin.write_bytes(REES46.replace("price", "é").encode("latin-1"))
    with pytest.raises(DataSetError, match="not a table in UTF-8"):
        read("rees46", latin)
    cut = tmp_path / "cut.csv.gz"
    cut.write_bytes(gzip.compress(REES46.encode())[:-20])
    with pytest.raises(DataSetError, match="not a whole gzip file"):
        read("rees46", cut)


def test_every_row_that_makes_no_event_is_reported_with_its_number(tmp_path):
    bad = """2019-10-01 00:00:10,view,1,9,,,1,77,s1
2019-10-01 00:00:11 UTC,view,1,9,,,dear,77,s1
2019-10-01 00:00:11 UTC,view,1,9,,,-1,77,s1
2019-10-01 00:00:11 UTC,wish,1,9,,,1,77,s1
2019-10-01 00:00:11 UTC,view,1,9,,,1,,s1
2019-10-01 00:00:11 UTC,view,1
"""
    report = ReadReport("rees46")
    touches = list(read("rees46", write(tmp_path / "s.csv", REES46 + bad), report))
    assert (report.rows, report.events, len(touches)) == (9, 3, 3)
    assert report.dropped == {
        "event_time is not a time": [5],
        "price is not a number": [6],
        "price is out of range": [7],
        "event_type unknown": [8],
        "no user or product": [9],
        "s.csv: not 9 fields": [10],
    }


def test_what_the_contract_refuses_is_reported_with_its_row(tmp_path):
    long = REES46 + f"2019-10-01 00:00:12 UTC,view,{'7' * 200},9,,,1,77,s1\n"
    report = ReadReport("rees46")
    assert len(list(read("rees46", write(tmp_path / "s.csv", long), report))) == 3
    [(reason, rows)] = report.dropped.items()
    assert "refused by the contract: data.product" in reason
    assert rows == [5]


def test_the_report_in_words_names_rows_and_how_many_more():
    report = ReadReport("x", rows=9, events=2)
    for row in range(2, 9):
        report.drop("gone", row)
    report.note("odd", 9)
    assert report.lines(shown=2) == [
        "x: 9 rows read, 2 events",
        "left out: 7 x gone (rows 2, 3 and 5 more)",
        "doubt: 1 x odd (rows 9)",
    ]


def test_jsonl_is_sent_as_written_sorted_and_unroutable_lines_are_reported(tmp_path):
    late = b'{"time":"2024-01-01T12:00:00+03:30","subject":"c1","channel":"app","type":"no.such","x": 1}'
    early = b'{"time":"2024-01-01T08:00:00Z","subject":"c2","channel":"web"}'
    lines = [
        late,
        b"",
        early,
        b'{"time":"2024-01-01T08:00:00","subject":"c","channel":"web"}',
        b'{"time":"2024-01-01T08:00:00Z","subject":"c","channel":"fax"}',
        b'{"time":',
        b'{"time":"2024-01-01T08:00:00Z","subject":"\xff","channel":"web"}',
    ]
    path = tmp_path / "e.jsonl"
    path.write_bytes(b"\n".join(lines))
    report = ReadReport("jsonl")
    touches = list(read("jsonl", path, report))
    assert [touch.value for touch in touches] == [early, late]
    assert touches[1] == Touch(1704097800.0, "app", "c1", late)
    assert (report.rows, report.events) == (6, 2)
    assert sorted(rows for rows in report.dropped.values()) == [[4, 5], [6], [7]]
    with pytest.raises(DataSetError, match="not a file of events"):
        read("jsonl", tmp_path)


def test_times_are_those_of_their_zone_also_when_clocks_change():
    zone = ZoneInfo("America/Sao_Paulo")
    assert local_time("2017-10-14 00:00:00", zone, "t").isoformat() == "2017-10-14T03:00:00+00:00"
    assert local_time("2017-10-15 01:00:00", zone, "t").isoformat() == "2017-10-15T03:00:00+00:00"
    with pytest.raises(BadRowError, match="open_dt is not a time"):
        local_time("yesterday", zone, "open_dt")


@pytest.mark.parametrize("text", ["nan", "inf", "-0.1", "", "two"])
def test_numbers_that_are_none_are_refused(text):
    with pytest.raises(BadRowError, match="wait"):
        number_of(text, "wait")


def test_spread_is_stable_even_and_within_its_bounds():
    shares = [spread("set", number) for number in range(2_000)]
    assert shares == [spread("set", number) for number in range(2_000)]
    assert all(0 <= share < 1 for share in shares)
    assert 0.47 < sum(shares) / len(shares) < 0.53
    assert 160 < sum(share < 0.1 for share in shares) < 240


@pytest.mark.parametrize(
    ("jalali", "gregorian"),
    [
        ((1357, 11, 22), date(1979, 2, 11)),
        ((1375, 12, 30), date(1997, 3, 20)),
        ((1399, 12, 30), date(2021, 3, 20)),
        ((1400, 1, 1), date(2021, 3, 21)),
        ((1403, 1, 1), date(2024, 3, 20)),
        ((1403, 5, 8), date(2024, 7, 29)),
        ((1403, 12, 30), date(2025, 3, 20)),
        ((1404, 1, 1), date(2025, 3, 21)),
        ((1404, 4, 29), date(2025, 7, 20)),
        ((1404, 7, 1), date(2025, 9, 23)),
        ((1206, 1, 1), date(1827, 3, 22)),
        ((1408, 12, 30), date(2030, 3, 20)),
    ],
)
def test_jalali_dates_that_are_known(jalali, gregorian):
    assert to_gregorian(*jalali) == gregorian


def test_every_jalali_day_follows_the_one_before():
    day = to_gregorian(1300, 1, 1).toordinal()
    for year in range(1300, 1450):
        for month in range(1, 13):
            length = 31 if month < 7 else 30 if month < 12 or is_leap(year) else 29
            for number in range(1, length + 1):
                assert to_gregorian(year, month, number).toordinal() == day
                day += 1


def test_jalali_leap_years_of_our_time():
    leap = [year for year in range(1370, 1421) if is_leap(year)]
    assert leap == [1370, 1375, 1379, 1383, 1387, 1391, 1395, 1399, 1403, 1408, 1412, 1416, 1420]


@pytest.mark.parametrize(
    "day", [(1404, 12, 30), (1404, 13, 1), (1404, 0, 1), (1404, 7, 31), (1404, 1, 0), (1205, 1, 1)]
)
def test_days_that_do_not_exist_are_refused(day):
    with pytest.raises(ValueError, match="Jalali year"):
        to_gregorian(*day)
