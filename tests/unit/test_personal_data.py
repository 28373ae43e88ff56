"""The look for personal data in clear, and the identifiers that are planted so that it has some to find."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any

import cramjam
import msgspec
import pytest
from click.testing import CliRunner

from streams.cli import main
from streams.commands.personal import opened
from streams.privacy.checksums import is_iban, is_national_id, passes_luhn
from streams.privacy.folding import fold
from streams.privacy.masking import mask
from streams.privacy.pseudonyms import Pseudonyms, SecretKey
from streams.privacy.records import Protection
from streams.privacy.scan import Planted, Scan, as_record, fields_of
from streams.producers.planting import _KINDS, Planter, PlantingSender, _written
from streams.producers.readers.base import DataSetError
from streams.producers.replay import Deliveries

if TYPE_CHECKING:
    from collections.abc import Callable

PROTECTION = Protection(Pseudonyms([SecretKey(b"k" * 32)]))
EVENT = {"id": "e-1", "subject": "c-1", "labels": None, "data": {"text": "سفارش ۱۰۰۴۵۸۷۷"}}


def written(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False).encode()


def found_in(*records: Any, planted: Planted = Planted(())) -> dict[tuple[str, str], int]:  # noqa: B008
    scan = Scan(PROTECTION, planted)
    scan.look("table t", list(map(written, records)))
    assert {one.where for one in scan.findings} <= {"table t"}
    return {(one.field, one.kind): one.records for one in scan.findings}


def planted_by(seed: int, number: int = 1_000) -> tuple[Planter, list[bytes]]:
    planter = Planter(seed, share=1.0)
    return planter, [planter.plant(written({**EVENT, "id": f"e{i}"}), f"c-{i}")[0] for i in range(number)]


@pytest.mark.slow
def test_what_is_planted_passes_the_checks_and_is_repeatable() -> None:
    """National ids, cards and account numbers are right; the same seed plants the same, another one others."""
    planter, records = planted_by(7)
    assert (planter.planted, records) == ((again := planted_by(7))[0].planted, again[1])
    numbers = [one for one in planter.planted if one.isdecimal()]
    assert set(numbers).isdisjoint(planted_by(8)[0].planted)
    assert all(is_national_id(one) for one in numbers if len(one) == 10)
    assert all(passes_luhn(one) for one in numbers if len(one) == 16)
    assert all(is_iban(one) for one in planter.planted if one[:2] in {"IR", "DE"})
    assert {len(one) for one in numbers} >= {10, 11, 16}
    text = b"".join(records).decode()
    assert all(sign in text for sign in ("۰", "٠", "\u200c", "\u200f", "@Example.Com", '"crm"', '"contact"'))


@pytest.mark.slow
def test_all_that_is_planted_is_masked_and_found_before_but_not_after() -> None:
    """In every place, script and with every separator: the scan sees it in clear, and nothing once it is masked."""
    planter, records = planted_by(7)
    planted = Planted(planter.planted)
    for before, after in zip(records, PROTECTION.protect(records).values, strict=True):
        assert after is not None
        for detector in (Scan(PROTECTION), Scan(PROTECTION, planted)):
            detector.look("x", [before])
            assert detector.findings
        assert any(one.kind == "planted" for one in detector.findings)
        clean = Scan(PROTECTION, planted)
        clean.look("x", [after])
        assert clean.findings == []


def test_a_planting_sender_keys_a_record_by_the_subject_that_it_has() -> None:
    sent: list[tuple[bytes, str, str]] = []

    class Sender:
        def send_encoded(self, payload: bytes, channel: str, subject: str) -> None:
            sent.append((payload, channel, subject))

        def flush(self, timeout_s: float = 30.0) -> Deliveries:
            raise AssertionError(timeout_s)

    sender = PlantingSender(Sender(), Planter(1, share=1.0))
    for _ in range(60):
        sender.send_encoded(written(EVENT), "web", "c-1")
    sender.send_encoded(b"{cut", "web", "c-1")
    assert all(json.loads(payload)["subject"] == subject for payload, _, subject in sent[:-1])
    # One customer stays one: whatever stands for them is the same each time.
    assert len({subject for _, _, subject in sent} - {"c-1"}) == 1
    assert sent[-1] == (b"{cut", "web", "c-1")


def test_findings_tell_field_and_kind_and_never_the_value() -> None:
    """Of columns, of JSON in a column, of names of fields, numbers, escapes, and records that are no JSON."""
    payload = json.dumps({"data": {"text": "call 0912 000 0012"}, "subject": "9120000012", "card": 6037991234567893})
    assert found_in(
        {"subject": "a@b.co", "payload": payload, "text": "fine"},
        {"subject": "c-1", "payload": payload},
        {"payload": r'{"text":"0912\t000\t0012"}'},
        {"payload": r'{"text":"\u06f0\u06f9\u06f1\u06f2\u06f0\u06f0\u06f0\u06f0\u06f0\u06f1\u06f2"}'},
        {"payload": '{"x":{"09120000012":1}}', "labels": {"plan": ["09120000012"]}},
        {"payload": "{0912-000-0012"},
    ) == {
        ("subject", "email"): 1,
        ("payload.data.text", "phone"): 2,
        ("payload.subject", "phone"): 2,
        ("payload.card", "card"): 2,
        ("payload.text", "phone"): 2,
        ("payload.x", "phone"): 1,
        ("labels.plan", "phone"): 1,
        ("payload", "phone"): 1,
    }
    assert found_in({"a 09120000012 b": {"text": "a@b.co"}}).keys() == {("", "phone"), ("a [phone] b.text", "email")}
    assert found_in(
        {"subject": "p-abcdefghijklmnopabcd", "payload": '{"text":"[phone] p-abcdefghijklmnopabcd"}', "n": 1795327200000}
    ) == {}  # fmt: skip


def test_numbers_are_cards_in_payloads_alone() -> None:
    """A sum of ours may pass a check by chance; what was planted is found as any number."""
    record = {"sum": 6037991234567893, "payload": {"card": 6037991234567893}}
    assert found_in(record) == {("payload.card", "card"): 1}
    assert found_in(record, planted=Planted(["6037-9912-3456-7893"])) == {
        ("sum", "planted"): 1,
        ("payload.card", "planted"): 1,
        ("payload.card", "card"): 1,
    }


@pytest.mark.parametrize(
    ("line", "text", "same"),
    [
        ("0912 000 0012", "x ۰۹۱۲-۰۰۰-۰۰۱۲ y", True),
        ("09120000012", "+98 912 000 0012", True),
        ("09120000012", "09120000013", False),
        ("Sara+1@Example.com", "to: ｓara+1@EXAMPLE.com.", True),
        ("sara@example.com", "sara@example.org", False),
        ("customer-4711", '{"subject":"Customer-4711"}', True),
        ("IR06 0960 0000 0010 0324 2000 01", "۰۶۰۹۶۰۰۰۰۰۰۰۱۰۰۳۲۴۲۰۰۰۰۱", True),
    ],
)
def test_planted_identifiers_are_compared_without_separators(line: str, text: str, *, same: bool) -> None:
    assert Planted([line, "", "  "]).is_in(text) is same


def test_what_no_detector_knows_is_found_if_it_was_planted() -> None:
    assert found_in({"note": "membership 7001"}) == {}
    assert found_in({"note": "membership 7001"}, planted=Planted(["membership 7001"])) == {("note", "planted"): 1}


def test_records_of_topics_are_opened() -> None:
    """JSON, message-pack, frames of zstd within each other; of anything else what is readable, but no counts."""
    packed = msgspec.msgpack.encode(["x", {"s": b"0912 000 0012"}, bytes(cramjam.zstd.compress(b"\x01\x02a@b.co\x00"))])
    values = [
        b'{"to":"0912 000 0012"}',
        bytes(cramjam.zstd.compress(packed)),
        b"\x28\xb5\x2f\xfd broken a@b.co",
        b"".join(number.to_bytes(8, "little") for number in range(48, 58)) + b"\xff",
        msgspec.msgpack.encode({1: b"0912 000 0012"}),
    ]
    found = []
    for value in values:
        scan = Scan(PROTECTION)
        scan.look("topic t", [as_record({"value": fields_of(value)})])
        found.append({one.kind for one in scan.findings})
    assert found == [{"phone"}, {"phone", "email"}, {"email"}, set(), {"phone"}]


def test_a_record_counts_once_in_a_field_and_many_fields_are_one(monkeypatch: pytest.MonkeyPatch) -> None:
    assert found_in({"a": ["0912 000 0012", "0912 000 0013"]}) == {("a", "phone"): 1}
    monkeypatch.setattr("streams.privacy.scan._MOST_FIELDS", 2)
    fields = [{name: "0912 000 0012"} for name in "abcd"]
    assert found_in(*fields) == {("a", "phone"): 1, ("b", "phone"): 1, ("…", "phone"): 2}


@pytest.mark.parametrize("depth", [100, 600, *range(930, 1_001, 5), 50_000])
def test_what_is_nested_however_deep_is_looked_at(depth: int) -> None:
    """Readers and writers of JSON give up at a depth that depends on how deep they were called."""
    nested = "[" * depth + '"0912 000 0012"' + "]" * depth
    packed = b"\x91" * depth + msgspec.msgpack.encode("0912 000 0012")
    for value in (nested.encode(), json.dumps({"payload": nested}).encode(), packed):
        for record in (as_record({"line": value.decode("utf-8", "replace")}), as_record({"value": fields_of(value)})):
            scan = Scan(PROTECTION)
            scan.look("topic t", [record])
            assert {one.kind for one in scan.findings} == {"phone"}


@pytest.mark.parametrize(
    "text", [r"0912\t000\t0012", r"0912\/000\/0012", "DE٨٩ ٣٧٠٤ ٠٠٤٤ ٠٥٣٢ ٠١٣٠ ٠٠", "DE89.3704.0044.0532.0130.00"]
)
def test_escapes_and_scripts_hide_nothing_from_masking(text: str) -> None:
    """Separators that are written as escapes, and account numbers of other countries in any digits."""
    [masked] = PROTECTION.protect([f'{{"text":"{text}"}}'.encode()]).values
    assert json.loads(masked or b"")["text"] in {"[phone]", "[iban]"}


def test_a_mobile_number_without_its_zero_is_one_where_a_person_or_a_telephone_is_named() -> None:
    """In any digits, and nowhere else: there it is an order or an amount."""
    [masked] = PROTECTION.protect(
        [written({"subject": "9120000012", "alias": "۹۱۲۰۰۰۰۰۱۲", "phone": "9120000012", "order": "9120000012"})]
    ).values
    person = PROTECTION.protect([b'{"subject":"+989120000012"}']).values[0]
    subject = json.loads(person or b"")["subject"]
    assert json.loads(masked or b"") == {
        "subject": subject,
        "alias": subject,
        "phone": "[phone]",
        "order": "9120000012",
    }


BEFORE = [
    "",
    "x",
    "سلام ",
    "id:",
    "a1-",
    "12 34 ",
    "+",
    "+\u200e",
    "%2B",
    "http://x/",
    "(",
    "s-00aa11",
    "2026-01-01 ",
    "/",
]
BEFORE += ["550e8400-e29b-41d4-a716-446655440000 ", "-1234-1234-1234-123456789012 ", "ab12cd34-", "09", "b"]
AFTER = ["", "x", " ریال", "-1", "/2", ".5", "\u200c", "12", "\n", "a@b.co", "-446655440000"]


@pytest.mark.slow
def test_the_quick_test_lets_nothing_pass_that_the_search_finds() -> None:
    """Whatever stands before and behind an identifier, and however JSON writes it, a record is masked as its text is."""
    rng = Random(9)
    people = Planter(5)._people
    for _ in range(4_000):
        kind = rng.choice(_KINDS)
        written_ = _written(kind, rng.choice(people).identifiers[kind], rng)
        text = f"{rng.choice(BEFORE)}{rng.choice(BEFORE)}{written_}{rng.choice(AFTER)}{rng.choice(AFTER)}"
        record = json.dumps({"text": text}, ensure_ascii=rng.random() < 0.3).encode()
        record = record.replace(b"/", rb"\/") if rng.random() < 0.2 else record
        [masked] = PROTECTION.protect([record]).values
        assert json.loads(masked or b"")["text"] == mask(text).text


@pytest.mark.parametrize("option", ["--planted", "--file"])
def test_options_of_the_look_go_with_it(option: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "x").touch()
    result = CliRunner().invoke(main, ["doctor", option, "x"])
    assert (result.exit_code, "go with --personal-data" in result.output) == (2, True)


@pytest.mark.parametrize(
    "pack",
    [
        lambda text: b"\xef\xbb\xbf" + text.encode(),
        lambda text: text.encode("utf-16"),
        lambda text: gzip.compress(text.encode()),
        lambda text: gzip.compress(b"\xef\xbb\xbf" + text.encode()),
    ],
)
def test_a_file_hides_nothing_by_how_it_is_written(pack: Callable[[str], bytes], tmp_path: Path) -> None:
    """A mark in front of the first line would make it no JSON, whose escapes nobody reads."""
    path = tmp_path / "export"
    path.write_bytes(pack('{"comment": "ali\\u0040example.com"}\n{"n": 1}\n'))
    with opened(path) as file:
        lines = [line.rstrip("\n") for line in file]
    assert found_in(*({"line": line} for line in lines)) == {("line.comment", "email"): 1}


def test_a_file_that_is_cut_short_is_not_called_clean(tmp_path: Path) -> None:
    path = tmp_path / "export.gz"
    path.write_bytes(gzip.compress(b"x" * 100)[:-5])
    with pytest.raises(DataSetError, match="is not a whole gzip file"), opened(path) as file:
        file.read()


def test_a_blank_of_braille_parts_digits_and_is_no_digit() -> None:
    """It is drawn as a blank; the number around it is one, wherever it stands in it."""
    assert fold("09\u2800 1").text == "09  1"
    for written in ("0912\u2800000\u28000012", "+98\u2800912\u2800000\u28000012", "6037\u28009912\u28003456\u28007893"):
        assert "\u2800" not in mask(written).text
        assert mask(written).kinds
