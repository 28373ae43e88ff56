"""Whatever is sent, there is an answer that is right: never a fault, and the good ones arrive as the decoder says."""

import asyncio
import gzip
import json
from datetime import UTC, datetime
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from streams.collector.bodies import BATCH, STRUCTURED
from streams.events.decode import decode_batch
from streams.settings import Settings
from tests.harness.door import Answer, InProcess, Taken, door_in_process, event

LIMITS = Settings(collect_events_per_s=1e9, collect_body_bytes=100_000)
KNOWN = {200, 202, 207, 400, 408, 413, 415, 429, 503}

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda children: st.lists(children, max_size=4) | st.dictionaries(st.text(max_size=8), children, max_size=4),
    max_leaves=10,
)
pages = st.sampled_from(["home", "سبد خرید", "", "x" * 200])
times = st.sampled_from(
    ["2026-11-22T10:00:00Z", "2026-11-22T13:30:00+03:30", "yesterday", "1980-01-01T00:00:00Z", None]
)
whole = st.builds(
    lambda number, page, at, changes: {**event(number, time=at, data={"page": page}), **changes},
    st.integers(0, 9),
    pages,
    times,
    st.dictionaries(
        st.sampled_from(["subject", "channel", "id", "type", "source", "specversion", "note", "synthetic"]),
        json_values | st.sampled_from(["web", "store", "c-۱"]),
        max_size=2,
    ),
)
records = st.one_of(
    whole.map(lambda value: json.dumps(value, ensure_ascii=False).encode("utf-8", "surrogatepass")),
    json_values.map(lambda value: json.dumps(value).encode()),
)
bodies = st.one_of(
    st.binary(max_size=300),
    records,
    st.lists(records, max_size=6).map(lambda parts: b"[" + b",".join(parts) + b"]"),
    st.tuples(records, st.integers(0, 200)).map(lambda cut: cut[0][: cut[1]]),
)
header_texts = st.text(st.characters(min_codepoint=32, max_codepoint=255), max_size=30)


def asked(body: Any, headers: dict[str, str]) -> tuple[Answer, Taken]:
    async def ask() -> tuple[Answer, Taken]:
        async with door_in_process(LIMITS) as door:
            return await call(door), door.taken

    async def call(door: InProcess) -> Answer:
        return await door.call("POST", "/v1/events", headers, body)

    return asyncio.run(ask())


@given(
    body=bodies,
    media=st.sampled_from([STRUCTURED, BATCH, "application/json", "text/plain", "image/png", ""]) | header_texts,
    encoding=st.sampled_from(["", "", "gzip", "br"]),
    attributes=st.dictionaries(
        st.sampled_from(["ce-id", "ce-type", "ce-time", "ce-synthetic", "ce-x"]), header_texts, max_size=3
    ),
    pieces=st.integers(1, 4),
)
@settings(deadline=None, max_examples=200)
def test_any_request_gets_an_answer_that_accounts_for_its_events(
    body: bytes, media: str, encoding: str, attributes: dict[str, str], pieces: int
) -> None:
    if encoding == "gzip" and pieces % 2:
        body = gzip.compress(body)
    size = -(-len(body) // pieces) or 1
    parts = [body[start : start + size] for start in range(0, len(body), size)] or [b""]
    answer, taken = asked(parts, {"content-type": media, "content-encoding": encoding, **attributes})
    assert answer.status in KNOWN
    told = answer.json
    if "error" in told:
        assert told["message"]
        assert taken.payloads == []
    else:
        assert [one["index"] for one in told["events"]] == list(range(len(told["events"])))
        assert answer.outcomes.count("accepted") == told["accepted"] == len(taken.payloads)
        assert told["accepted"] + told["refused"] == len(told["events"])
        assert all(one["reason"] and one["message"] for one in told["events"] if one["outcome"] == "refused")
        assert (answer.status == 202) == (told["refused"] == 0)


@given(st.lists(whole, max_size=8))
@settings(deadline=None, max_examples=200)
def test_the_good_ones_of_a_batch_arrive_as_the_decoder_says(values: list[dict[str, Any]]) -> None:
    sent = [json.dumps(value, ensure_ascii=False).encode("utf-8", "surrogatepass") for value in values]
    answer, taken = asked(b"[" + b",".join(sent) + b"]", {"content-type": BATCH})
    events, refused = decode_batch(sent)
    if "error" in answer.json:
        # An array with half a surrogate pair in it is no JSON; nobody can say where its parts end.
        assert any(refusal.reason in {"not_utf8", "not_json"} for refusal in refused)
        return
    now = datetime.now(UTC)
    good = [
        payload
        for payload, one in zip(sent, events, strict=True)
        if one is not None and datetime(1990, 1, 1, tzinfo=UTC) <= one.time <= now
    ]
    assert [payload for payload, one in zip(taken.payloads, taken.events, strict=True) if not one.timeimputed] == good
    reasons = {refusal.index: (refusal.reason, refusal.path) for refusal in refused}
    for told in answer.json["events"]:
        if told["outcome"] == "refused" and told["reason"] not in {"time_too_old", "time_in_future"}:
            decoded = reasons[told["index"]]
            assert (told["reason"], told["path"]) == decoded or decoded == ("missing_field", "time")
