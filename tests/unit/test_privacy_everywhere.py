"""Where personal data is taken out: at ingest, at the door, in the client; and keys that are refused at start."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from streams.collector.access import Key
from streams.collector.checks import Checking, without_personal_data
from streams.events.anonymous import ERASED, Anonymous, names_for_nobody
from streams.events.decode import decode_one
from streams.events.envelope import Envelope
from streams.events.intake import Intake, Outcome
from streams.kpis.arithmetic.coupons import bin_of
from streams.privacy.finding import Names
from streams.privacy.pseudonyms import Pseudonyms, SecretKey, is_pseudonym
from streams.privacy.records import Protection
from streams.producers.client import TouchpointProducer
from streams.secured.protection import protection_of
from streams.settings import ConfigError, Settings

NOW = 1_772_352_060.0  # 2026-03-01T08:01:00Z
PSEUDONYMS = Pseudonyms([SecretKey(b"k" * 32)])
PROTECTION = Protection(PSEUDONYMS)
PHONE = "۰۹۱۲ ۰۰۰ ۰۰۱۲"


def event(number: int, **changes: Any) -> dict[str, Any]:
    return {
        "specversion": "1.0",
        "id": f"e-{number}",
        "source": "/shop",
        "type": "cx.feedback.given",
        "time": "2026-03-01T08:00:00Z",
        "subject": "customer-7",
        "channel": "web",
        "data": {"text": "سفارش ۱۰۰۴۵۸۷۷ هنوز نرسیده", "kind": "complaint"},
        **changes,
    }


def encoded(*events: dict[str, Any]) -> list[bytes]:
    return [json.dumps(one, ensure_ascii=False).encode() for one in events]


def taken(values: list[bytes], protection: Protection | None = PROTECTION) -> Outcome:
    intake = Intake("web/0", retention_s=86_400.0, dedup_ids=1_000, protection=protection)
    intake.add(values, range(len(values)), NOW)
    outcome = intake.close()
    assert outcome is not None
    return outcome


def test_nothing_behind_ingest_sees_personal_data() -> None:
    """Events, stored payloads and dead letters have none; what holds none is stored byte for byte."""
    clean = encoded(event(1))
    outcome = taken(
        [
            *clean,
            *encoded(
                event(2, subject=PHONE, orderid=f"call {PHONE}", labels={"plan": PHONE}, extra={"deep": [PHONE]}),
                event(3, subject="+989120000012"),
                event(4, type="no.such", subject=PHONE),
                event(5, labels={PHONE: "x"}),
            ),
            f"{{{PHONE}".encode(),
        ]
    )
    assert (outcome.tally.counted, outcome.tally.bad) == (3, 3)
    assert outcome.payloads[0] == clean[0]
    first, second, third = outcome.counted
    assert first.subject == "customer-7"
    assert second.subject == third.subject == PSEUDONYMS.of("09120000012", NOW)
    assert second.orderid == f"call {second.subject}"
    assert second.labels == {"plan": "[phone]"}
    everything = b"".join([*outcome.payloads, *(bad.payload for bad in outcome.bad)]).decode()
    everything += "".join(f"{bad.refusal.got}{bad.refusal.message}{bad.refusal.path}" for bad in outcome.bad)
    assert "۰۰۱۲" not in everything
    assert "0012" not in everything
    assert outcome.masked == {"phone": 8}


def test_the_same_event_is_a_duplicate_however_the_person_is_written() -> None:
    """What is compared is what is stored; another person under the same id is a conflict."""
    outcome = taken(
        encoded(event(1, subject=PHONE), event(1, subject="+98 912 000 0012"), event(1, subject="09120000021"))
    )
    assert (outcome.tally.counted, outcome.tally.duplicate, outcome.tally.conflict) == (1, 1, 1)


def test_all_who_are_named_have_pseudonyms_where_the_settings_say_so() -> None:
    """Opaque keys too, the same one each time, but for those that name nobody; and fields of one's own."""
    protection = Protection(PSEUDONYMS, subjects="all", people=["employee"])
    first, second, third = taken(
        encoded(event(1), event(2), event(3, subject="unknown", data={"text": "x", "kind": "praise"}, employee="E 7")),
        protection,
    ).counted
    assert is_pseudonym(first.subject)
    assert first.subject == second.subject
    assert third.subject == "unknown"
    (value,), _ = protection.protect(encoded({"employee": "E 7"}))
    assert is_pseudonym(json.loads(value or b"")["employee"])


def test_names_of_a_list_are_masked() -> None:
    """Whole words in any case, keyboard and spacing; not parts of words."""
    protection = Protection(PSEUDONYMS, names=Names(["علی رضایی", "Sara Ahmadi"]))
    texts = ["با علي  رضایی حرف زدم", "SARA\u200c ahmadi called", "علی رضاییان نبود", "sara"]
    masked = [
        json.loads(value or b"")["text"] for value in protection.protect(encoded(*({"text": t} for t in texts))).values
    ]
    assert masked == ["با [name] حرف زدم", "[name] called", *texts[2:]]


def test_the_door_sends_on_what_holds_none() -> None:
    """The sender finds its events by its own ids; what breaks the contract without personal data is refused."""
    records = encoded(
        event(1), event(2, id=f"e-{PHONE}", subject=PHONE), event(3, labels={"a": "b", "x09120000012": "c"})
    )
    checking = Checking(Key(key=""), NOW, 10_000)
    checking.add(records)
    sent = without_personal_data(checking.checked, PROTECTION)
    assert sent.payloads[0] == records[0]
    second = sent.events[1]
    assert second is not None
    assert (second.subject, second.id) == (PSEUDONYMS.of(PHONE, NOW), f"e-{PSEUDONYMS.of(PHONE, NOW)}")
    assert decode_one(sent.payloads[1]) == second
    assert sent.events[2] is None
    assert list(sent.refusals) == [2]
    assert checking.checked.ids() == ["e-1", f"e-{PHONE}", "e-3"]
    assert without_personal_data(checking.checked, None) is checking.checked


def test_the_client_sends_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """Payload and Kafka key hold the pseudonym."""
    sent: list[tuple[bytes, bytes]] = []
    with TouchpointProducer("127.0.0.1:1", protection=PROTECTION) as producer:
        monkeypatch.setattr(producer._outbox, "put", lambda _topic, key, payload, _event: sent.append((key, payload)))
        producer.send(event(1, subject=PHONE))
        producer.send(event(2))
    first = decode_one(sent[0][1])
    assert isinstance(first, Envelope)
    assert sent[0][0].decode() == first.subject == PSEUDONYMS.of("09120000012", NOW)
    assert sent[1][0] == b"customer-7"


def test_a_key_is_made_once_and_is_its_owners_alone(tmp_path: Path) -> None:
    """The first start makes it, later ones use it; the door makes none."""
    settings = Settings(data_dir=str(tmp_path / "data"))
    assert protection_of(settings, make=False) is None
    first = protection_of(settings)
    file = tmp_path / "data" / "secrets" / "privacy.key"
    assert file.stat().st_mode & 0o777 == 0o600
    again = protection_of(settings, make=False)
    assert first is not None
    assert again is not None
    sent = encoded(event(1, subject=PHONE))
    assert first.protect(sent).values == again.protect(sent).values != PROTECTION.protect(sent).values
    assert protection_of(Settings(data_dir=str(tmp_path), privacy="off")) is None


@pytest.mark.parametrize(
    ("content", "mode", "said"),
    [
        (None, 0o600, "cannot read"),
        ("", 0o600, "holds no key"),
        ("# only words\n", 0o600, "holds no key"),
        ("short\n", 0o600, "line 1: the key has 5 characters, expected 32 or more"),
        ("k" * 32, 0o604, "can be read or changed by everybody (mode 604)"),
        ("k" * 32 + "\nsoon " + "j" * 32, 0o600, "line 2: expected the time"),
        ("k" * 32 + "\n" + "j" * 32, 0o600, "begin at the same time"),
    ],
)
def test_keys_that_protect_nobody_are_refused(tmp_path: Path, content: str | None, mode: int, said: str) -> None:
    """With the setting and the file, before anything starts."""
    file = tmp_path / "keys"
    if content is not None:
        file.write_text(content)
        file.chmod(mode)
    with pytest.raises(ConfigError, match="privacy_key_file: ") as refused:
        protection_of(Settings(privacy_key_file=str(file)))
    assert said in str(refused.value)


def test_an_event_of_nobody_keeps_what_counts() -> None:
    """Name, ids and text go, and what no contract knows; the name has the bin of the old one. Others lose the name alone."""
    names = names_for_nobody(["customer-7", "customer-8"], bin_of)
    assert {name: bin_of(new) for name, new in names.items()} == {name: bin_of(name) for name in names}
    anonymous = Anonymous(names)
    (own,) = encoded(event(1, orderid="o-1", unitid="shop-3", labels={"plan": "x"}, phone="1"))
    kept = json.loads(anonymous.payload(own))
    assert kept["subject"] == names["customer-7"]
    assert kept["data"] == {"text": ERASED, "kind": "complaint"}
    assert (kept["unitid"], kept["labels"], kept["time"]) == ("shop-3", {"plan": "x"}, "2026-03-01T08:00:00Z")
    assert {kept["id"], kept["orderid"]}.isdisjoint({"e-1", "o-1"})
    assert "phone" not in kept
    assert kept == json.loads(anonymous.payload(own))
    (other,) = encoded(
        event(2, subject="c-1", type="cx.identity.linked", data={"alias": "customer-8"}, more=["customer-7"])
    )
    named = json.loads(anonymous.payload(other))
    assert named["data"]["alias"] == names["customer-8"]
    assert named["more"] == [names["customer-7"]]
    assert (named["subject"], named["id"]) == ("c-1", "e-2")
