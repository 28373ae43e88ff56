"""The smaller data sets: small files in their format, with their quirks."""

import json
from datetime import datetime
from pathlib import Path

from streams.producers.readers import ReadReport, read


def events(name: str, path: Path, text: str) -> tuple[list[dict], ReadReport]:
    path.write_text(text, encoding="utf-8")
    report = ReadReport(name)
    return [json.loads(touch.value) for touch in read(name, path, report)], report


def test_rees46_acts_become_view_cart_and_order(tmp_path):
    made, report = events(
        "rees46",
        tmp_path / "s.csv",
        """event_time,event_type,product_id,category_id,category_code,brand,price,user_id,user_session
2019-10-01 00:00:01 UTC,view,1,9,furniture.sofa,lux,41.16,77,s1
2019-10-01 00:00:02 UTC,cart,1,9,,,41.16,77,s1
2019-10-01 00:00:03 UTC,purchase,1,9,,,41.16,77,s1
""",
    )
    assert [(event["type"], event["data"]) for event in made] == [
        ("cx.product.viewed", {"product": "1", "category": "furniture.sofa", "price": 41.16}),
        ("cx.cart.added", {"product": "1", "quantity": 1, "price": 41.16}),
        ("cx.order.placed", {"amount": 41.16, "items": 1}),
    ]
    assert {event["sessionid"] for event in made} == {"s1"}
    assert "timeimputed" not in made[0]
    assert not report.dropped


def test_rees46_purchases_of_a_session_are_one_order(tmp_path):
    """A row is a product: orders are counted, not products, also where sessions overlap or are not named."""
    made, _ = events(
        "rees46",
        tmp_path / "s.csv",
        """event_time,event_type,product_id,category_id,category_code,brand,price,user_id,user_session
2019-10-01 00:00:03 UTC,purchase,1,9,,,41.1,77,s1
2019-10-01 00:00:04 UTC,purchase,1,9,,,5,78,s2
2019-10-01 00:00:09 UTC,purchase,2,9,,,0.2,77,s1
2019-10-01 00:00:10 UTC,purchase,2,9,,,1,79,
2019-10-01 00:00:11 UTC,purchase,2,9,,,2,79,
""",
    )
    assert [(event["time"][-3:], event["data"]) for event in made] == [
        ("04Z", {"amount": 5, "items": 1}),
        ("09Z", {"amount": 41.3, "items": 2}),
        ("10Z", {"amount": 1, "items": 1}),
        ("11Z", {"amount": 2, "items": 1}),
    ]


def test_breadbasket_counts_what_was_bought_and_not_what_the_till_made(tmp_path):
    made, report = events(
        "breadbasket",
        tmp_path / "b.csv",
        """Date,Time,Transaction,Item
2016-10-29,09:58:11,1,Bread
2016-10-29,10:05:34,2,Scandinavian
2016-10-29,10:05:34,2,Scandinavian
2016-10-29,10:05:34,2,NONE
2016-11-09,19:49:22,3,Adjustment
2016-11-09,25:49:22,4,Tea
2016-11-09,19:50:00,,Tea
""",
    )
    assert [event["data"] for event in made] == [{"items": 1}, {"items": 2}]
    # British summer time ended on the night after.
    assert made[0]["time"] == "2016-10-29T08:58:11Z"
    assert len({event["subject"] for event in made}) == 2
    assert report.dropped == {
        "NONE: made by the till, not bought": [5],
        "Adjustment: made by the till, not bought": [6],
        "Date and Time is not a time": [7],
        "no transaction number": [8],
        "receipt without anything bought": [6],
    }


def test_rmv_waits_become_seconds_and_missing_ones_are_reported_by_cell(tmp_path):
    made, report = events(
        "rmv",
        tmp_path / "w.csv",
        """timestamp,Boston,Martha's Vineyard,Fall River
14/07/2015 9:00 AM,999,0,6.9
URL request failed,1,2,3
15/07/2015 1:01 PM,30.43,,x
15/07/2015 1:01 PM,30.43,1,999
""",
    )
    assert [(event["unitid"], event["data"]["wait_s"]) for event in made] == [
        ("Martha's Vineyard", 0),
        ("Fall River", 414),
        ("Boston", 1826),
        ("Boston", 1826),
        ("Martha's Vineyard", 60),
    ]
    assert made[0]["time"] == "2015-07-14T13:00:00Z"
    assert made[2]["time"] == "2015-07-15T17:01:00Z"
    assert made[0]["subject"] == "rmv-martha-s-vineyard"
    # Two readings within a minute are two observations.
    assert len({event["id"] for event in made}) == 5
    assert report.dropped == {
        "cell 999: closed or no data": [2, 5],
        "timestamp is not a time": [3],
        "cell empty": [4],
        "wait is not a number": [4],
    }


CAFEBAZAAR = """id,app_package,app_name,comment,rating,likes,total_votes,date,version_code,from_developer,is_edited,scraped_at
182698481,ir.tejaratbank,Tejarat Bank,گند زدید با این بروزرسانيتون,1,6,8,۱۴۰۴/۰۴/۱۷,5016,False,False,2025-07-20T17:30:53.412628
2,com.refah,ًRefah Bank,عالی,5,0,0,۱۴۰۳/۱۲/۳۰,43,False,True,2025-07-20T17:30:53.412628
3,com.refah,ًRefah Bank,,5,0,0,1404/01/01,43,False,False,2025-07-20T17:30:53.412628
3,com.refah,ًRefah Bank,عالی,5,0,0,1404/01/01,43,False,False,2025-07-20T17:30:53.412628
4,com.refah,ًRefah Bank,عالی,5,0,0,۱۴۰۴/۱۲/۳۰,43,False,False,2025-07-20T17:30:53.412628
5,com.refah,ًRefah Bank,ممنون,5,0,0,۱۴۰۴/۰۱/۰۱,43,True,False,2025-07-20T17:30:53.412628
6,com.refah,ًRefah Bank,عالی,0,0,0,۱۴۰۴/۰۱/۰۱,43,False,False,2025-07-20T17:30:53.412628
7,com.refah,ًRefah Bank,عالی,6,0,0,۱۴۰۴/۰۱/۰۱,43,False,False,2025-07-20T17:30:53.412628
"""


def test_cafebazaar_dates_become_a_time_near_noon_in_tehran_and_text_stays_as_sent(tmp_path):
    made, report = events("cafebazaar", tmp_path / "c.csv", CAFEBAZAAR)
    by_subject = {event["subject"]: event for event in made}
    assert set(by_subject) == {f"cafebazaar-review-{number}" for number in (182698481, 2, 3)}
    angry = by_subject["cafebazaar-review-182698481"]
    assert angry["data"] == {
        "scale": 5,
        "score": 1,
        "text": "گند زدید با این بروزرسانيتون",
        "lang": "fa",
        "product": "ir.tejaratbank",
        "version": "5016",
        "store": "cafebazaar",
        "likes": 6,
        "votes": 8,
        "edited": False,
    }
    assert angry["channel"] == "app"
    assert all(event["timeimputed"] for event in made)
    # 10:00 to 14:00 in Tehran is 06:30 to 10:30 UTC.
    for subject, day in ((182698481, "2025-07-08"), (2, "2025-03-20"), (3, "2025-03-21")):
        time = by_subject[f"cafebazaar-review-{subject}"]["time"]
        assert f"{day}T06:30:00Z" <= time < f"{day}T10:30:00Z"
    assert report.dropped == {
        "review repeated": [5],
        "date is not a Jalali date": [6],
        "a developer's reply, not a review": [7],
        "rating is out of range": [8, 9],
    }


def test_airbnb_sessions_keep_their_visitor_across_devices_and_flag_imputed_times(tmp_path):
    head = (
        "id_visitor|id_session|dim_session_number|dim_user_agent|dim_device_app_combo|ds|ts_min|ts_max"
        "|did_search|sent_message|sent_booking_request\n"
    )
    rows = """v1|s1|1|Airbnb/6.0 iPhone/8.1.2|iPhone - iOS|2015-02-16|2015-02-16 21:00:00|2015-02-16 21:40:00|1|1|1
v1|s2|2||Desktop - Chrome|2015-02-16|2015-02-16 23:00:00|2015-02-16 23:00:09|0|0|0
v1|s2|2||Desktop - Chrome|2015-02-16|2015-02-16 23:00:00|2015-02-16 23:00:09|0|0|0
v1|s3|3||Toaster|2015-02-16|2015-02-16 23:00:00|2015-02-16 23:00:00|0|0|0
v1|s4|4||Desktop - IE|2015-02-16|2015-02-16 23:00:01|2015-02-16 23:00:00|0|0|0
v1|s5|5||Desktop - IE|2015-02-16|2015-02-16 23:00:01|2015-02-16 23:00:02|2|0|0
v1|s6|6||Desktop - IE|2015-02-16||2015-02-16 23:00:02|0|0|0
"""
    made, report = events("airbnb", tmp_path / "a.txt", head + rows)
    told = [(event["type"], event["time"][11:19], event["channel"], event.get("timeimputed", False)) for event in made]
    assert told == [
        ("cx.session.started", "21:00:00", "app", False),
        ("cx.search.performed", "21:10:00", "app", True),
        ("cx.feature.used", "21:20:00", "app", True),
        ("cx.order.placed", "21:30:00", "app", True),
        ("cx.session.ended", "21:40:00", "app", False),
        ("cx.session.started", "23:00:00", "web", False),
        ("cx.session.ended", "23:00:09", "web", False),
    ]
    assert {event["subject"] for event in made} == {"airbnb-v1"}
    # The set knows of no number of results and of no price.
    assert made[1]["data"] == made[3]["data"] == {}
    assert [(event["touchpoint"], event["stage"]) for event in made[:5]] == [
        ("session", "discovery"),
        ("search", "discovery"),
        ("product_page", "evaluation"),
        ("checkout", "conversion"),
        ("session", "discovery"),
    ]
    assert made[4]["data"] == {"duration_s": 2400.0, "device": "iPhone", "engaged": True, "converted": True}
    assert made[6]["data"] == {"duration_s": 9.0, "device": "Desktop", "engaged": False, "converted": False}
    assert made[0]["data"]["returning"] is False
    assert made[5]["data"]["returning"] is True
    assert report.dropped == {
        "session repeated": [4],
        "device and app not told apart": [5],
        "session ends before it starts": [6],
        "a flag is neither 0 nor 1": [7],
        "ts_min is not a time": [8],
    }


def test_online_shoppers_sessions_fall_on_a_fitting_day_of_their_month(tmp_path):
    head = (
        "Administrative,Administrative_Duration,Informational,Informational_Duration,ProductRelated,"
        "ProductRelated_Duration,BounceRates,ExitRates,PageValues,SpecialDay,Month,OperatingSystems,Browser,Region,"
        "TrafficType,VisitorType,Weekend,Revenue\n"
    )
    row = "1,10,2,20.5,3,30,0,0.1,0,0,June,1,1,4,2,{visitor},{weekend},{bought}\n"
    rows = [
        row.format(visitor="New_Visitor", weekend="TRUE", bought="TRUE"),
        row.format(visitor="Other", weekend="FALSE", bought="FALSE"),
        row.format(visitor="Other", weekend="FALSE", bought="FALSE"),
        row.format(visitor="Robot", weekend="FALSE", bought="FALSE"),
        row.format(visitor="Other", weekend="FALSE", bought="FALSE").replace("June", "Brumaire"),
    ]
    made, report = events("online_shoppers", tmp_path / "o.csv", head + "".join(rows))
    ended = {event["sessionid"]: event for event in made if event["type"] == "cx.session.ended"}
    started = {event["sessionid"]: event for event in made if event["type"] == "cx.session.started"}
    assert set(ended) == set(started) == {"session-2", "session-3", "session-4"}
    [order] = [event for event in made if event["type"] == "cx.order.placed"]
    assert (order["sessionid"], order["touchpoint"], order["data"]) == ("session-2", "checkout", {})
    assert order["time"] == ended["session-2"]["time"]
    assert ended["session-2"]["data"] == {"duration_s": 60.5, "views": 6, "converted": True}
    assert started["session-2"]["data"] == {"referrer": "traffic-2", "returning": False}
    assert "returning" not in started["session-3"]["data"]
    assert all(event["timeimputed"] for event in made)
    for session, weekend in (("session-2", True), ("session-3", False), ("session-4", False)):
        at = datetime.fromisoformat(started[session]["time"])
        assert (at.year, at.month, at.weekday() >= 5) == (2017, 6, weekend)
        length = datetime.fromisoformat(ended[session]["time"]) - at
        assert length.total_seconds() == 60.5
    assert report.dropped == {"VisitorType unknown": [5], "Month unknown": [6]}
