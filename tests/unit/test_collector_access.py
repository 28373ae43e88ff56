"""Who may send: keys, origins, pace; and what is refused before the door opens."""

import hashlib
from pathlib import Path

import pytest

from streams.collector.access import Bucket, Key, KeyAccess, make_key, read_keys, read_origins
from streams.collector.answers import RejectedError
from streams.collector.sources import is_plain
from streams.events.decode import decode_one
from streams.events.types import Envelope
from streams.events.visible import spelled_out
from streams.settings import ConfigError, Settings
from tests.harness.door import event

SECRET, PAGE = "a-secret-of-the-call-centre", "public-key-of-the-web-shop"


def digest(key: str) -> str:
    return "sha256:" + hashlib.sha256(key.encode()).hexdigest()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "keys.toml"
    path.write_text(f"""
[call-centre]
key = "{digest(SECRET)}"
channels = ["call_center", "store"]
source = "/cc/"
events_per_s = 50

["web shop"]
key = "{PAGE}"
channels = ["web"]
public = true
""")
    path.chmod(0o644)
    return path


def access(file: Path, origins: str = "https://shop.example") -> KeyAccess:
    return KeyAccess(Settings(collect_keys_file=str(file), collect_origins=origins))


def decoded(**changes: object) -> Envelope:
    import msgspec

    made = decode_one(msgspec.json.encode(event(**changes)))
    assert isinstance(made, Envelope)
    return made


@pytest.mark.parametrize(
    ("headers", "query", "name"),
    [
        ({"authorization": f"Bearer {SECRET}"}, None, "call-centre"),
        ({"authorization": f"bearer  {SECRET} "}, None, "call-centre"),
        ({"x-api-key": SECRET}, None, "call-centre"),
        ({}, PAGE, "web shop"),
        ({"origin": "https://shop.example"}, PAGE, "web shop"),
        ({"x-api-key": PAGE}, None, "web shop"),
    ],
)
def test_a_key_says_who_sends(file: Path, headers: dict[str, str], query: str | None, name: str) -> None:
    assert access(file).admit(headers, query).name == name


@pytest.mark.parametrize(
    ("headers", "query", "status", "said"),
    [
        ({}, None, 401, "there is none"),
        ({"x-api-key": ""}, "", 401, "there is none"),
        ({"x-api-key": "wrong"}, None, 401, "this one is not known"),
        ({"authorization": f"Basic {SECRET}"}, None, 401, "there is none"),
        ({"x-api-key": digest(SECRET)}, None, 401, "this one is not known"),
        ({"x-api-key": "\udcff"}, None, 401, "this one is not known"),
        ({}, SECRET, 401, "only one that is public"),
        ({"x-api-key": SECRET, "origin": "https://evil.example"}, None, 403, "may not send here"),
        ({"origin": "null"}, PAGE, 403, "may not send here"),
    ],
)
def test_others_are_denied(file: Path, headers: dict[str, str], query: str | None, status: int, said: str) -> None:
    with pytest.raises(RejectedError, match=said) as denied:
        access(file).admit(headers, query)
    assert (denied.value.status, denied.value.verdict) == (status, "denied")
    assert SECRET not in str(denied.value)


def test_a_key_may_send_its_channels_and_sources_only(file: Path) -> None:
    key = read_keys(file)["call-centre"]
    assert key.refusal(3, decoded(channel="store", source="/cc/tills")) is None
    channel = key.refusal(3, decoded(channel="web", source="/cc/web"))
    assert channel
    assert (channel.index, channel.reason, channel.path, channel.got) == (3, "not_allowed", "channel", "web")
    assert channel.expected == "one of call_center, store"
    source = key.refusal(0, decoded(channel="store", source="/shop/cc/"))
    assert source
    assert (source.path, source.expected) == ("source", "text that begins with /cc/")


SLASHES = "%2f", "%2F", "\\", "%5c", "／", "∕", "⁄", "⧸"
DOTS = "..", ".", "%2e%2e", "%2E.", "...", "․․", "‥", "．．", "%252e%252e", "..;x", ".. ", "..%20", "%2e", "..%00"


@pytest.mark.parametrize(
    "path",
    [
        *(f"{dots}/shop" for dots in DOTS),
        *(f"tills/{dots}" for dots in DOTS),
        *(f"..{slash}shop" for slash in SLASHES),
        *(f"tills{slash}1" for slash in SLASHES),
        "/shop", "tills//1", "tills/?x=/../shop", "tills#/../shop", "%", "%zz", "%ff", "%25", "a\u200cb", "a\u202eb", "a b",
        "\x7f", "e\u0301", "²", "//shop/x",
    ],
)  # fmt: skip
def test_a_source_that_only_begins_as_it_may_is_refused(file: Path, path: str) -> None:
    """`/cc/../shop` is `/shop`, however it is written."""
    found = read_keys(file)["call-centre"].refusal(0, decoded(channel="store", source=f"/cc/{path}"))
    assert found
    assert (found.reason, found.path, found.got) == ("not_allowed", "source", spelled_out(f"/cc/{path}"))


@pytest.mark.parametrize(
    "source", ["/CC/tills", "/%63c/tills", "/сс/tills", "cc/tills", "//cc/tills", " /cc/tills", "/cc"]
)
def test_a_source_that_only_looks_as_it_may_is_refused(file: Path, source: str) -> None:
    assert read_keys(file)["call-centre"].refusal(0, decoded(channel="store", source=source))


@pytest.mark.parametrize(
    "path", ["", "tills/7", "tills/7/", "شعبه/۱", "%D8%B4%D8%B9%D8%A8%D9%87", "a.b..c/~x", "x?till=7#a"]
)
def test_a_source_below_its_place_may_be_anything_plain(file: Path, path: str) -> None:
    assert read_keys(file)["call-centre"].refusal(0, decoded(channel="store", source=f"/cc/{path}")) is None


def test_a_key_bound_to_no_place_takes_any_source(file: Path) -> None:
    assert read_keys(file)["web shop"].refusal(0, decoded(source="/a/../b")) is None


@pytest.mark.parametrize("source", ["https://shop.example/web", "urn:shop:web", "/cc/", "cc", "mailto:cc@shop.example"])
def test_places_of_every_kind_of_reference_can_be_told(source: str) -> None:
    assert is_plain(source)
    assert not is_plain(f"{source}/../x")


def test_beyond_this_machine_nobody_sends_without_a_key() -> None:
    for host in ("0.0.0.0", "::", "10.0.0.5", "door.example"):
        with pytest.raises(ConfigError, match="CX_COLLECT_KEYS_FILE"):
            KeyAccess(Settings(collect_host=host))
    for host in ("127.0.0.1", "::1", "localhost"):
        assert KeyAccess(Settings(collect_host=host)).admit({}, None).key == Key(key="")


def test_without_keys_pages_are_still_kept_out() -> None:
    """Any page that somebody on this machine looks at could send a beacon to loopback."""
    with pytest.raises(RejectedError) as denied:
        KeyAccess(Settings()).admit({"origin": "https://evil.example"}, None)
    assert denied.value.status == 403
    assert KeyAccess(Settings(collect_origins="http://localhost:5173")).admit({"origin": "http://localhost:5173"}, None)


@pytest.mark.parametrize(
    "origin", ["*", "https://shop.example/", "shop.example", "https://Shop.example", "https://*.example"]
)
def test_an_origin_that_would_never_match_or_match_all_is_refused(origin: str) -> None:
    with pytest.raises(ConfigError, match=r"is no origin; expected scheme and host"):
        read_origins(f"https://a.example, {origin}")


def test_origins_are_read() -> None:
    assert read_origins(" https://a.example ,http://localhost:5173,") == ("https://a.example", "http://localhost:5173")
    assert read_origins("http://[::1]:8080") == ("http://[::1]:8080",)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "holds no key"),
        ("[a", "expected TOML"),
        ("a = 1", "key 'a': Expected `object`, got `int`"),
        ("[a]", "key 'a': Object missing required field `key`"),
        (f'[a]\nkey = "{SECRET}"\nchannel = ["web"]', "key 'a': Object contains unknown field `channel`"),
        (f'[a]\nkey = "{SECRET}"\nchannels = ["fax"]', "key 'a': Invalid enum value 'fax'"),
        (f'[a]\nkey = "{SECRET}"\nchannels = []', "key 'a': Expected `array` of length >= 1"),
        (f'[a]\nkey = "{SECRET}"\nsource = "/cc/../"', "key 'a': `source` is '/cc/../', expected a path without"),
        (f'[a]\nkey = "{SECRET}"\nevents_per_s = 0', "key 'a': Expected `float` > 0"),
        ('[a]\nkey = "short"', "key 'a': `key` is neither"),
        ('[a]\nkey = "sha256:ABC"', "key 'a': `key` is neither"),
        (f'[a]\nkey = "{SECRET}"\n[b]\nkey = "{digest(SECRET)}"', "two names have the same key"),
    ],
)
def test_a_file_that_cannot_be_right_is_refused_with_its_key(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "keys.toml"
    path.write_text(text)
    path.chmod(0o600)
    with pytest.raises(ConfigError) as refused:
        read_keys(path)
    assert said in str(refused.value)
    assert str(path) in str(refused.value)
    assert SECRET not in str(refused.value)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"cannot read .*absent.toml.*No such file"):
        read_keys(tmp_path / "absent.toml")


def test_a_file_that_others_can_write_is_refused_and_secrets_that_others_can_read(file: Path) -> None:
    file.chmod(0o664)
    with pytest.raises(ConfigError, match=r"written by others .mode 664.*chmod go-w"):
        read_keys(file)
    file.write_text(f'[a]\nkey = "{SECRET}"\n')
    file.chmod(0o640)
    with pytest.raises(ConfigError, match=r"read by others .mode 640. and holds a as plain text: chmod 600"):
        read_keys(file)
    file.chmod(0o600)
    assert set(read_keys(file)) == {"a"}


def test_a_key_that_is_made_opens_the_door(tmp_path: Path) -> None:
    made, entry = make_key("دفتر ۱")
    path = tmp_path / "keys.toml"
    path.write_text(entry, encoding="utf-8")
    path.chmod(0o644)
    assert access(path).admit({"x-api-key": made}, None).name == "دفتر ۱"
    assert made not in entry
    assert make_key("a")[0] != made


def test_a_bucket_holds_what_may_come_at_once_and_fills_again() -> None:
    now = [100.0]
    bucket = Bucket(10.0, largest=5, clock=lambda: now[0])
    bucket.take(15)
    bucket.take(5)
    with pytest.raises(RejectedError) as limited:
        bucket.take(5)
    assert (limited.value.status, limited.value.verdict, limited.value.retry_after_s) == (429, "limited", 0.5)
    now[0] += 0.5
    bucket.take(5)
    now[0] += 1_000
    bucket.take(20)
    with pytest.raises(RejectedError):
        bucket.take(1)


def test_a_slow_key_may_still_send_one_full_request() -> None:
    bucket = Bucket(0.5, largest=100, clock=lambda: 0.0)
    bucket.take(100)
    with pytest.raises(RejectedError):
        bucket.take(1)
