"""Olist, the Technion call centre and Boston 311: small files in their format, with their quirks."""

import gzip
import json
from pathlib import Path

import pytest

from streams.producers.readers import ReadReport, read


def read_all(name: str, path: Path) -> tuple[list[dict], ReadReport]:
    report = ReadReport(name)
    return [json.loads(touch.value) for touch in read(name, path, report)], report


def of_type(made: list[dict], kind: str) -> list[dict]:
    return [event for event in made if event["type"] == kind]


@pytest.fixture
def olist(tmp_path):
    """
    Five orders: on time, late, delivered at an unknown time, cancelled though delivered, and never delivered.
    """
    rows = {
        "customers": """customer_id,customer_unique_id,customer_zip_code_prefix,customer_city,customer_state
c1,u1,1,sao paulo,SP
c2,u2,1,rio,RJ
c3,u1,1,sao paulo,SP
c4,u4,1,sao paulo,SP
c5,u5,1,sao paulo,SP
""",
        "orders": """order_id,customer_id,order_status,order_purchase_timestamp,order_approved_at,order_delivered_carrier_date,order_delivered_customer_date,order_estimated_delivery_date
o1,c1,delivered,2017-07-01 12:00:00,2017-07-01 12:10:00,2017-07-02 12:00:00,2017-07-09 00:00:00,2017-07-09 00:00:00
o2,c2,delivered,2017-07-01 12:00:00,2017-07-01 12:10:00,2017-07-02 12:00:00,2017-07-09 00:00:01,2017-07-09 00:00:00
o3,c3,delivered,2017-07-01 12:00:00,2017-07-01 12:10:00,,,2017-07-20 00:00:00
o4,c4,canceled,2017-07-01 12:00:00,2017-07-01 12:10:00,2017-07-01 11:00:00,2017-07-08 12:00:00,2017-07-09 00:00:00
o5,c5,shipped,2017-07-01 12:00:00,,2017-07-02 12:00:00,,2017-07-09 00:00:00
o5,c5,shipped,2017-07-01 12:00:00,,2017-07-02 12:00:00,,2017-07-09 00:00:00
o6,nobody,shipped,2017-07-01 12:00:00,,,,2017-07-09 00:00:00
o7,c5,shipped,long ago,,,,2017-07-09 00:00:00
o8,c5,created,2017-07-03 12:00:00,,,,2018-01-01 00:00:00
""",
        "order_items": """order_id,order_item_id
o1,1
o1,2
o9,1
""",
        "order_payments": """order_id,payment_sequential,payment_type,payment_installments,payment_value
o1,1,credit_card,2,100.10
o1,2,voucher,1,0.20
o2,1,boleto,1,5
o3,1,boleto,1,5
o4,1,boleto,1,5
o5,1,boleto,1,5
o5,2,boleto,1,much
o9,1,boleto,1,5
""",
        "order_reviews": """review_id,order_id,review_score,review_comment_title,review_comment_message,review_creation_date,review_answer_timestamp
r1,o1,5,,,2017-07-10 00:00:00,2017-07-10 12:00:00
r1,o2,2,Atrasado,"Chegou
tarde",2017-07-10 00:00:00,2017-07-11 12:00:00
r1,o2,2,,,2017-07-10 00:00:00,2017-07-11 12:00:00
r3,o3,4,,,2017-07-10 00:00:00,2017-07-10 12:00:00
r4,o4,1,,,2017-07-10 00:00:00,2017-07-10 12:00:00
r5,o5,1,,Onde?,2017-07-10 00:00:00,2017-07-10 12:00:00
r6,o5,6,,,2017-07-10 00:00:00,2017-07-10 12:00:00
r7,o5,1,,,2017-06-01 00:00:00,2017-07-10 12:00:00
r9,o9,1,,,2017-07-10 00:00:00,2017-07-10 12:00:00
""",
    }
    for table, text in rows.items():
        (tmp_path / f"olist_{table}_dataset.csv").write_text(text, encoding="utf-8")
    return read_all("olist", tmp_path)


def test_olist_labels_each_answer_with_how_the_delivery_ended(olist):
    made, _ = olist
    answers = {
        (event["orderid"], event["data"]["score"]): event["data"] for event in of_type(made, "cx.survey.answered")
    }
    assert {key: data.get("delivery") for key, data in answers.items()} == {
        ("o1", 5): "on_time",  # to the second
        ("o2", 2): "late",  # by a second
        ("o3", 4): "on_time",  # nothing shows it was late
        ("o4", 1): None,  # delivered and yet cancelled
        ("o5", 1): "not_delivered",
    }
    assert answers["o2", 2]["text"] == "Atrasado\nChegou\ntarde"
    assert answers["o2", 2]["lang"] == "pt"
    assert "text" not in answers["o1", 5]
    assert answers["o1", 5]["metric"] == "csat"
    assert answers["o1", 5]["scale"] == 5


def test_olist_review_id_of_two_orders_is_two_answers_to_one_survey(olist):
    """Its name is a label: one for each answer would be a series for each."""
    made, _ = olist
    sent = of_type(made, "cx.survey.sent")
    assert len({event["id"] for event in sent}) == len(sent) == 6
    assert {event["data"]["survey_id"] for event in sent} == {"order_review"}
    assert {event["orderid"] for event in sent} == {"o1", "o2", "o3", "o4", "o5"}
    assert all(event["timeimputed"] for event in of_type(made, "cx.survey.sent"))
    # Midnight in Sao Paulo.
    assert {event["time"] for event in of_type(made, "cx.survey.sent")} == {
        "2017-07-10T03:00:00Z",
        "2017-06-01T03:00:00Z",
    }


def test_olist_orders_and_payments(olist):
    made, _ = olist
    placed = {event["orderid"]: event for event in of_type(made, "cx.order.placed")}
    assert placed["o1"]["data"] == {"amount": 100.3, "currency": "BRL", "items": 2}
    assert placed["o1"]["time"] == "2017-07-01T15:00:00Z"
    assert placed["o1"]["subject"] == placed["o3"]["subject"] == "olist-u1"
    assert placed["o2"]["region"] == "RJ"
    assert set(placed) == {"o1", "o2", "o3", "o4", "o5", "o8"}
    assert placed["o8"]["data"] == {"currency": "BRL"}
    paid = [(event["orderid"], event["data"]["amount"]) for event in of_type(made, "cx.payment.succeeded")]
    assert sorted(paid) == [("o1", 0.2), ("o1", 100.1), ("o2", 5.0), ("o3", 5.0), ("o4", 5.0)]
    assert len(of_type(made, "cx.promise.made")) == 6


def test_olist_deliveries_overdue_ones_and_cancellations(olist):
    made, _ = olist
    delivered = {event["orderid"]: event for event in of_type(made, "cx.order.delivered")}
    assert {key: event["data"].get("late") for key, event in delivered.items()} == {
        "o1": False,
        "o2": True,
        "o3": None,
        "o4": False,
    }
    assert delivered["o4"]["data"]["delay_h"] == -12.0
    assert delivered["o3"]["timeimputed"] is True
    assert "delay_h" not in delivered["o3"]["data"]
    assert "timeimputed" not in delivered["o1"]
    overdue = {event["orderid"]: event["time"] for event in of_type(made, "cx.order.delivery_overdue")}
    # o8 was due after the last thing the set knows of.
    assert overdue == {"o2": "2017-07-09T03:00:00Z", "o5": "2017-07-09T03:00:00Z"}
    [cancelled] = of_type(made, "cx.order.cancelled")
    assert (cancelled["orderid"], cancelled["data"]["reason"]) == ("o4", "canceled")
    assert (cancelled["time"], cancelled["timeimputed"]) == ("2017-07-09T03:00:00Z", True)
    dispatched = {event["orderid"]: event["data"] for event in of_type(made, "cx.order.dispatched")}
    assert dispatched["o1"] == {"duration_s": 86400.0}
    assert dispatched["o4"] == {}


def test_olist_rows_that_do_not_fit_are_reported(olist):
    _, report = olist
    assert report.dropped == {
        "olist_orders_dataset.csv: order_id repeated": [7],
        "olist_orders_dataset.csv: customer unknown": [8],
        "olist_orders_dataset.csv: order_purchase_timestamp is not a time": [9],
        "olist_order_items_dataset.csv: order unknown": [4],
        "olist_order_payments_dataset.csv: payment_value is not a number": [8],
        "olist_order_payments_dataset.csv: order unknown": [9],
        "olist_order_reviews_dataset.csv: review of the order repeated": [4],
        "olist_order_reviews_dataset.csv: review_score is out of range": [8],
        "olist_order_reviews_dataset.csv: order unknown": [10],
    }
    assert report.noted == {
        "olist_orders_dataset.csv: delivered at an unknown time: placed at the estimate, neither late nor in time": [4],
        "olist_orders_dataset.csv: delivered and yet cancelled, its reviews carry no delivery label": [5],
        "olist_orders_dataset.csv: given to the carrier before it was ordered": [5],
        "olist_orders_dataset.csv: no payment, so the order has no amount": [10],
        "olist_order_reviews_dataset.csv: review asked for before the order was placed": [9],
    }


CALLS = """vru+line,call_id,type,vru_entry,vru_exit,vru_time,q_start,q_exit,q_time,outcome,ser_start,ser_exit,ser_time,server,server_abv
A,1,PS,0:10:10,0:10:27,17,0:00:00,0:00:00,0,HANG,0:00:00,0:00:00,0,NO_SERVER,NO_
A,2,NW,9:00:00,9:00:10,10,9:00:10,9:01:40,90,AGENT,9:01:39,9:05:00,201,SHARON,SHA
A,2,NW,9:10:00,9:10:10,10,9:10:10,9:10:30,20,HANG,0:00:00,0:00:00,0,NO_SERVER,NO_
A,3,TT,10:00:00,10:00:05,5,0:00:00,0:00:00,0,AGENT,10:00:05,10:01:05,60,NO_SERVER,NO_
A,4,PS,11:00:00,11:00:10,10,11:00:10,11:02:10,120,PHANTOM,11:02:10,11:02:12,2,NO_SERVER,NO_
A,14,PS,11:00:00,11:00:10,10,0:00:00,0:00:00,0,PHANTOM,0:00:00,0:00:00,0,NO_SERVER,NO_
A,5,PS,12:04:42,12:03:15,-87,12:03:15,12:04:56,101,AGENT,12:04:55,12:05:56,61,VICKY,VIC
A,6,NW,8:48:53,8:49:02,9,8:49:02,8:53:47,285,AGENT,0:00:00,0:00:00,0,STEREN,STE
A,7,PS,13:27:13,13:27:19,6,13:27:19,13:27:19,0,HANG,0:00:00,0:00:00,0,NO_SERVER,NO_
A,8,PS,14:01:56,14:02:02,6,14:02:02,14:02:57,55,HANG,14:02:32,14:11:00,508,NO_SERVER,NO_
A,8,PS,14:01:56,14:02:02,6,14:02:02,14:02:57,55,HANG,14:02:32,14:11:00,508,NO_SERVER,NO_
A,9,PS,15:00:00,15:00:01,1,15:00:10,15:00:05,-5,HANG,0:00:00,0:00:00,0,NO_SERVER,NO_
A,10,PS,15:00,15:00:01,1,15:00:10,15:00:05,-5,HANG,0:00:00,0:00:00,0,NO_SERVER,NO_
A,11,PS,15:60:00,15:00:01,1,15:00:10,15:00:05,-5,HANG,0:00:00,0:00:00,0,NO_SERVER,NO_
A,12,PS,15:00:00,15:00:01,1,15:00:10,15:00:05,-5,LOST,0:00:00,0:00:00,0,NO_SERVER,NO_
"""


def test_technion_calls_from_menu_to_the_end_of_service(tmp_path):
    (tmp_path / "calls_one_day.csv").write_text(CALLS, encoding="utf-8")
    made, _ = read_all("technion", tmp_path)
    [left] = [event for event in of_type(made, "cx.contact.queue_left") if event["contactid"] == "A-2-9:00:00"]
    assert left["data"] == {"queue": "NW", "reason": "answered", "wait_s": 90, "topic": "NW"}
    assert left["time"] == "1999-08-02T06:01:40Z"
    assert (left["channel"], left["unitid"], left["timeimputed"]) == ("call_center", "NW", True)
    answered = {event["contactid"]: event for event in of_type(made, "cx.contact.answered")}
    assert {key: event["data"]["wait_s"] for key, event in answered.items()} == {
        "A-2-9:00:00": 90,
        "A-3-10:00:00": 0,
        "A-5-12:04:42": 101,
        "A-6-8:48:53": 285,
    }
    assert answered["A-2-9:00:00"]["agentid"] == "SHARON"
    assert "agentid" not in answered["A-3-10:00:00"]
    assert answered["A-6-8:48:53"]["time"] == "1999-08-02T05:53:47Z"
    handled = {event["contactid"]: event["data"] for event in of_type(made, "cx.contact.handled")}
    assert set(handled) == set(answered) - {"A-6-8:48:53"}
    assert handled["A-2-9:00:00"] == {"talk_s": 201, "queue": "NW", "topic": "NW"}
    opened = {event["contactid"]: event["data"]["direction"] for event in of_type(made, "cx.contact.opened")}
    assert opened["A-3-10:00:00"] == "outbound"
    assert opened["A-2-9:00:00"] == "inbound"


def test_technion_virtual_calls_are_told_only_as_they_pass_the_queue(tmp_path):
    (tmp_path / "calls_one_day.csv").write_text(CALLS, encoding="utf-8")
    made, _ = read_all("technion", tmp_path)
    entered, left = [event for event in made if event["contactid"] == "A-4-11:00:00"]
    assert (entered["type"], entered["time"]) == ("cx.contact.queue_entered", "1999-08-02T08:00:10Z")
    assert (left["type"], left["time"]) == ("cx.contact.queue_left", "1999-08-02T08:02:10Z")
    assert left["data"] == {"queue": "PS", "reason": "flow_out", "wait_s": 120, "topic": "PS"}
    assert not [event for event in made if event["contactid"] == "A-14-11:00:00"]


def test_technion_ways_out_of_the_menu_and_of_the_queue(tmp_path):
    (tmp_path / "calls_one_day.csv").write_text(CALLS, encoding="utf-8")
    made, report = read_all("technion", tmp_path)
    outcome = {event["contactid"]: event["data"]["outcome"] for event in of_type(made, "cx.contact.ivr_exited")}
    assert outcome == {
        "A-1-0:10:10": "hangup",
        "A-2-9:00:00": "queue",
        "A-2-9:10:00": "queue",
        "A-3-10:00:00": "queue",
        "A-6-8:48:53": "queue",
        "A-7-13:27:13": "hangup",
        "A-8-14:01:56": "queue",
    }
    gone = {event["contactid"]: event["data"]["reason"] for event in of_type(made, "cx.contact.queue_left")}
    assert gone["A-2-9:10:00"] == gone["A-8-14:01:56"] == "abandoned"
    entered = {event["contactid"] for event in of_type(made, "cx.contact.queue_entered")}
    assert entered == set(gone)
    # Answered at once is a wait of nothing; hung up at once is no wait.
    passed = {event["contactid"]: event for event in of_type(made, "cx.contact.queue_left")}["A-3-10:00:00"]
    assert (passed["data"]["reason"], passed["data"]["wait_s"]) == ("answered", 0)
    assert passed["time"] == "1999-08-02T07:00:05Z"
    assert "A-7-13:27:13" not in gone
    assert report.dropped == {
        "PHANTOM: a virtual call, never in the queue": [7],
        "call repeated": [12],
        "a step of the call ends before it starts": [13],
        "vru_entry is not a time of day": [14, 15],
        "outcome unknown": [16],
    }
    assert report.noted == {
        "served by nobody named: no agentid": [5],
        "PHANTOM: a virtual call, told only as it passed the queue": [6],
        "left the voice menu before entering it: no menu duration": [8],
        "service without times: answered at the end of the wait, not counted as handled": [9],
        "hung up and yet has service times: taken as abandoned": [11],
    }


BOSTON = """case_enquiry_id,open_dt,target_dt,closed_dt,ontime_status,case_status,subject,reason,type,department,neighborhood,source
1,2015-05-01 00:45:25,2015-05-15 08:30:00,2015-05-04 07:23:25,ONTIME,Closed,Transport,Signs,Sign Repair,BTDT,East Boston,Citizens Connect App
2,2015-05-01 00:51:44,2015-05-15 08:30:00,2015-05-01 02:46:20,ONTIME,Closed,Public Works,Lights,Outages,PWDx,,Employee Generated
3,2015-05-01 01:00:00,2015-05-02 01:00:00,2015-05-03 01:00:00,OVERDUE,Closed,Public Works,Lights,Outages,PWDx,Roxbury,Constituent Call
4,2015-05-01 01:00:00,2015-05-02 01:00:00,,OVERDUE,Open,Public Works,Lights,Outages,PWDx,Roxbury,Self Service
5,2015-05-01 01:00:00,,2015-05-01 00:00:00,ONTIME,Closed,Hotline,Desk,OCR Front Desk Interactions,INFO,Roxbury,Constituent Call
6,2015-05-01 01:00:00,,,,Open,Hotline,Desk,Other,INFO,Roxbury,Twitter
7,2015-05-01 01:00:00,2015-05-02 01:00:00,2015-05-03 01:00:00,ONTIME,Closed,Hotline,Desk,Other,INFO,Roxbury,Self Service
8,2015-05-01 01:00:00,,2015-05-03 01:00:00,OVERDUE,Closed,Hotline,Desk,Other,INFO,Roxbury,Self Service
9,2015-05-01 01:00:00,,,,Open,Hotline,Desk,Other,INFO,Roxbury,Pigeon
10,2015-05-01 01:00:00,,,,Open,Hotline,Desk,Other,INFO,Roxbury,City Worker App
11,2015-05-01 01:00:00,,,,Open,Hotline,Desk,Other,INFO,Roxbury,Maximo Integration
12,soon,,,,Open,Hotline,Desk,Other,INFO,Roxbury,Self Service
12,2015-05-01 01:00:00,,,,Open,Hotline,Desk,Other,INFO,Roxbury,Self Service
12,2015-05-01 01:00:00,,,,Open,Hotline,Desk,Other,INFO,Roxbury,Self Service
13,2015-05-01 01:00:00,,,,Open,Hotline,Desk,,INFO,Roxbury,Self Service
"""


@pytest.fixture(params=["boston311_2015_may_jun.csv", "boston311_2015_all_compact.csv.gz"])
def boston(request, tmp_path):
    data = BOSTON.encode()
    (tmp_path / request.param).write_bytes(gzip.compress(data) if request.param.endswith("gz") else data)
    return read_all("boston311", tmp_path)


def test_boston_channels_breaches_and_resolutions(boston):
    made, _ = boston
    opened = {event["contactid"]: event for event in of_type(made, "cx.ticket.opened")}
    assert {key: (event["channel"], event["data"].get("subchannel")) for key, event in opened.items()} == {
        "1": ("app", None),
        "3": ("call_center", None),
        "4": ("web", None),
        "5": ("store", None),
        "6": ("web", "social"),
        "7": ("web", None),
        "8": ("web", None),
        "12": ("web", None),
    }
    assert opened["1"]["time"] == "2015-05-01T04:45:25Z"
    assert opened["1"]["data"]["due"] == "2015-05-15T12:30:00Z"
    breached = {event["contactid"]: event["time"] for event in of_type(made, "cx.ticket.sla_breached")}
    assert breached == {"3": "2015-05-02T05:00:00Z", "4": "2015-05-02T05:00:00Z"}
    resolved = {event["contactid"]: event["data"] for event in of_type(made, "cx.ticket.resolved")}
    assert {key: (data["duration_s"], data.get("on_time")) for key, data in resolved.items()} == {
        "1": (283080.0, True),
        "3": (172800.0, False),
        "7": (172800.0, True),
        "8": (172800.0, None),
    }
    assert resolved["1"]["topic"] == "Sign Repair"
    assert resolved["1"]["area"] == "East Boston"


def test_boston_internal_and_unusable_rows_are_reported(boston):
    _, report = boston
    assert report.dropped == {
        "Employee Generated: filed by the city itself": [3],
        "source unknown": [10],
        "City Worker App: filed by the city itself": [11],
        "Maximo Integration: filed by the city itself": [12],
        "open_dt is not a time": [13],
        "case repeated": [15],
        "no type": [16],
    }
    assert report.noted == {
        "closed before it was opened: no resolution event": [6],
        "closed after its due time, on time by the city's verdict": [8],
        "overdue without a due time: no breach event": [9],
    }
