"""
What a hostile user of ClickHouse tries, over HTTP and the native port, as everybody that there is.

Nothing outside the server's own folder is read, written, started or connected to, no password is told, nobody gets in
without one, and the server goes on. The same list runs against the users of `deploy/clickhouse`.
"""

import socket
import urllib.error
import urllib.parse
import urllib.request
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from streams.local import confinement
from streams.local.clickhouse import EmbeddedClickHouse
from tests.harness.clickhouse import DEPLOY, install_users, running_server
from tests.harness.native import ask_native

CANARY = "canary-that-nobody-may-see"

# {outside}: a folder outside the server's, with a file `secret`; {data}: the server's folder; {port}: a listener.
READS_FILES = [
    "SELECT file('{outside}/secret')", "SELECT file('{data}/credentials.json')", "SELECT file('{data}/lock', 'none') || x",
    "SELECT file('{data}/store/../credentials.json')", "SELECT file('../credentials.json')",
    "SELECT file('{data}/server/users.xml')", "SELECT file('{data}/server/config.xml')",
    "SELECT file('{data}/store/link')", "SELECT file('{data}/log/link')", "SELECT file('/proc/self/environ')",
    "SELECT file('/proc/self/cmdline')", "SELECT file('/proc/self/root{outside}/secret')",
    "SELECT file('/proc/self/mem')", "SELECT file('/proc/1/environ')", "SELECT file('/etc/passwd')",
    "SELECT file(toString('{outside}/secret')) FROM numbers(2)", "SELECT arrayMap(x -> file(x), ['{outside}/secret'])",
    "SELECT throwIf(1, file('{outside}/secret'))", "SELECT * FROM view(SELECT file('{outside}/secret'))",
    "WITH (SELECT file('{outside}/secret')) AS x SELECT x", "SELECT file(concat('{outside}', '/secret'))",
    "SELECT 1 WHERE file('{outside}/secret') LIKE '%'", "EXPLAIN SELECT file('{outside}/secret')",
    "SELECT * FROM file('{outside}/secret', 'LineAsString', 'x String')", "SELECT * FROM file('{outside}/secret', RawBLOB)",
    "SELECT _path, _file, * FROM file('{outside}/*', 'LineAsString', 'x String')", "DESCRIBE TABLE file('{outside}/secret')",
    "SELECT * FROM file('{data}/store/link', 'LineAsString', 'x String')", "SELECT * FROM `{outside}/secret`",
    "SELECT * FROM default.`{outside}/secret`", "SELECT * FROM filesystem('{outside}')",
    "SELECT * FROM fileCluster('default', '{outside}/secret', 'LineAsString', 'x String')",
    "SELECT * FROM sqlite('{outside}/secret', 'x')", "SELECT * FROM icebergLocal('{outside}')",
    "SELECT * FROM deltaLakeLocal('{outside}')", "SELECT * FROM paimonLocal('{outside}')",
    "SELECT * FROM python('secret')", "SELECT * FROM Python(os)", "SELECT * FROM arrowstream('0x41414141')",
    "SELECT * FROM s3('file://{outside}/secret', 'LineAsString')", "SELECT * FROM url('file://{outside}/secret', 'LineAsString', 'x String')",
    "SELECT * FROM eval('SELECT file(''{outside}/secret'')')", "SELECT catboostEvaluate('{outside}/secret', 1)",
    "SELECT * FROM input('x String') FORMAT LineAsString", "SELECT * FROM format(Template, '{{}}') SETTINGS format_template_row = '{outside}/secret'",
    "SELECT * FROM format(Protobuf, 'x') SETTINGS format_schema = '{outside}/secret:M'",
    "SELECT loadLib('{outside}/x.so')", "SELECT regionToName(1)", "SELECT getOSKernelVersion() || file('{outside}/secret')",
]  # fmt: skip
WRITES_FILES = [
    "INSERT INTO FUNCTION file('{outside}/new', 'CSV', 'x UInt8') VALUES (1)",
    "INSERT INTO FUNCTION file('{outside}/new', 'CSV', 'x UInt8') SELECT 1",
    "CREATE TABLE cx.stolen (x String) ENGINE = File(CSV, '{outside}/new')",
    "CREATE TABLE cx.stolen (x String) ENGINE = SQLite('{outside}/new', 'x')",
    "CREATE TABLE cx.stolen (x UInt8) ENGINE = Log SETTINGS disk = disk(type = 'local', path = '{outside}/')",
    "CREATE TABLE cx.stolen (x UInt8) ENGINE = MergeTree ORDER BY x SETTINGS disk = disk(type = 'local', path = '{outside}/')",
    "CREATE DATABASE stolen ENGINE = Filesystem('{outside}')", "CREATE DATABASE stolen ENGINE = SQLite('{outside}/new')",
    "ATTACH TABLE cx.stolen FROM '{outside}' (x UInt8) ENGINE = MergeTree ORDER BY x",
    "BACKUP TABLE cx.kept TO File('{outside}/new')", "BACKUP DATABASE cx TO Disk('default', 'new')",
    "RESTORE DATABASE cx FROM File('{outside}/secret')", "ALTER TABLE cx.kept FREEZE WITH NAME 'stolen'",
]  # fmt: skip
REACHES_OUT = [
    "SELECT * FROM url('http://127.0.0.1:{port}/', 'LineAsString', 'x String')", "SELECT * FROM url('http://localhost:{port}/')",
    "INSERT INTO FUNCTION url('http://127.0.0.1:{port}/', 'CSV', 'x UInt8') VALUES (1)",
    "SELECT * FROM urlCluster('default', 'http://127.0.0.1:{port}/', 'CSV', 'x UInt8')",
    "SELECT * FROM s3('http://127.0.0.1:{port}/b/k', 'CSV', 'x UInt8')", "SELECT * FROM gcs('http://127.0.0.1:{port}/b/k', 'CSV', 'x UInt8')",
    "SELECT * FROM hdfs('hdfs://127.0.0.1:{port}/x', 'CSV', 'x UInt8')", "SELECT * FROM azureBlobStorage('http://127.0.0.1:{port}/', 'a', 'b')",
    "SELECT * FROM remote('127.0.0.1:{port}', system.one)", "SELECT * FROM remoteSecure('127.0.0.1:{port}', system.one)",
    "SELECT * FROM cluster('default', system.one)", "SELECT * FROM clusterAllReplicas('default', system.users)",
    "SELECT * FROM mysql('127.0.0.1:{port}', 'd', 't', 'u', 'p')", "SELECT * FROM postgresql('127.0.0.1:{port}', 'd', 't', 'u', 'p')",
    "SELECT * FROM mongodb('127.0.0.1:{port}', 'd', 't', 'u', 'p', 'x String')", "SELECT * FROM redis('127.0.0.1:{port}', 'k', 'k String, v String')",
    "SELECT * FROM jdbc('http://127.0.0.1:{port}/', 's', 't')", "SELECT * FROM odbc('DSN=x', 's', 't')",
    "SELECT * FROM iceberg('http://127.0.0.1:{port}/b/k')", "SELECT * FROM deltaLake('http://127.0.0.1:{port}/b/k')",
    "SELECT * FROM ytsaurus('http://127.0.0.1:{port}', '//t', 'k', 'x String')", "SELECT * FROM bigquery('p', 'd', 't')",
    "CREATE TABLE cx.stolen (x String) ENGINE = URL('http://127.0.0.1:{port}/', CSV)",
    "CREATE TABLE cx.stolen (x String) ENGINE = Kafka('127.0.0.1:{port}', 't', 'g', 'CSV')",
    "CREATE TABLE cx.stolen (x String) ENGINE = MySQL('127.0.0.1:{port}', 'd', 't', 'u', 'p')",
    "CREATE DATABASE stolen ENGINE = PostgreSQL('127.0.0.1:{port}', 'd', 'u', 'p')",
]  # fmt: skip
RUNS_PROGRAMS = [
    "SELECT * FROM executable('sh', TabSeparated, 'x String', (SELECT 1))", "SELECT * FROM executable('../../../bin/cat', LineAsString, 'x String')",
    "CREATE TABLE cx.stolen (x String) ENGINE = Executable('sh', TabSeparated)",
    "CREATE TABLE cx.stolen (x String) ENGINE = ExecutablePool('sh', TabSeparated)",
    "CREATE FUNCTION stolen AS (x) -> file(x)", "SYSTEM RELOAD FUNCTIONS", "SYSTEM SHUTDOWN", "SYSTEM KILL",
]  # fmt: skip
TAKES_RIGHTS = [
    "CREATE USER x IDENTIFIED WITH no_password", "ALTER USER cx_reader IDENTIFIED WITH no_password", "DROP USER cx_admin",
    "GRANT ALL ON *.* TO cx_reader", "CREATE ROLE x", "EXECUTE AS cx_admin SELECT 1", "SELECT 1; DROP TABLE cx.kept", "SELECT * FROM system.users", "SELECT * FROM system.named_collections",
    "SELECT * FROM system.query_log", "SELECT * FROM system.text_log", "SELECT * FROM system.server_settings",
    "SELECT * FROM system.asynchronous_metrics", "SELECT * FROM system.stack_trace", "SELECT * FROM system.dictionaries",
    "CREATE NAMED COLLECTION x AS a = 1", "DROP NAMED COLLECTION cx_dictionaries", "SHOW CREATE USER cx_admin",
    "SYSTEM RELOAD CONFIG", "SYSTEM STOP LISTEN HTTP", "SYSTEM START LISTEN MYSQL", "SYSTEM DROP DNS CACHE", "SYSTEM FLUSH LOGS",
    "SELECT addressToSymbol(1)", "SELECT demangle('x')", "CREATE DATABASE stolen", "DROP DATABASE cx",
    "SELECT 1 SETTINGS allow_python_table_function = 1",
]  # fmt: skip
OF_THE_ADMIN = [
    *(
        f"CREATE DICTIONARY cx.stolen{number} (k UInt64, v String DEFAULT '') PRIMARY KEY k SOURCE({source})"
        f" LAYOUT(FLAT()) LIFETIME(0)"
        for number, source in enumerate([
            "FILE(path '{outside}/secret' format 'CSV')", "EXECUTABLE(command 'cat {outside}/secret' format 'CSV')",
            "HTTP(url 'http://127.0.0.1:{port}/' format 'CSV')", "MYSQL(host '127.0.0.1' port {port} user 'x' db 'd' table 't')",
            "CLICKHOUSE(host '127.0.0.1' port {port} user 'x' db 'd' table 't')", "REDIS(host '127.0.0.1' port {port})",
            "CLICKHOUSE(host '127.0.0.1' user 'default' query 'SELECT 1 AS k, file(''{outside}/secret'') AS v')",
        ])
    )
]  # fmt: skip
OF_NO_USE = [
    "SELECT 1 INTO OUTFILE '{outside}/new'", "SELECT 1 INTO OUTFILE '{outside}/secret' TRUNCATE", "SET ROLE ALL",
    "SELECT 1 FORMAT Template SETTINGS format_template_resultset = '{outside}/secret'", "SELECT 1 SETTINGS readonly = 0",
    "SET readonly = 0", "SELECT 1 SETTINGS max_sessions_for_user = 0", "KILL QUERY WHERE 1",
]  # fmt: skip
"""Some are answered, over one of the ports or for one of the users, and nothing comes of it."""
SAYS_NO_SECRET = [
    "SELECT * FROM system.settings", "SELECT * FROM system.settings_profile_elements", "SELECT * FROM system.functions",
    "SELECT * FROM system.tables", "SELECT * FROM system.databases", "SELECT * FROM system.grants",
    "SELECT * FROM system.processes", "SELECT * FROM system.macros", "SELECT * FROM system.build_options",
    "SELECT * FROM system.disks", "SELECT * FROM system.errors", "SELECT * FROM system.warnings", "SELECT currentUser(), version()",
    "SELECT * FROM system.merge_tree_settings", "SELECT * FROM system.user_processes", "SELECT * FROM system.quotas_usage",
    "SELECT file('{data}/store/status')", "SELECT file('{data}/log/clickhouse.log')",
]  # fmt: skip


@dataclass
class Target:
    """A server under attack, and what must stay as it is."""

    server: EmbeddedClickHouse
    outside: Path
    listener: socket.socket

    def fill(self, sql: str) -> str:
        for name, value in (("outside", self.outside), ("data", self.server.data_dir)):
            sql = sql.replace(f"{{{name}}}", str(value))
        return sql.replace("{port}", str(self.listener.getsockname()[1]))

    def secrets(self) -> list[bytes]:
        passwords = self.server.credentials
        return [text.encode() for text in (CANARY, passwords.admin, passwords.writer, passwords.reader)]

    def over_http(self, user: str, password: str, sql: str) -> tuple[bool, bytes]:
        return http(self.server.http_port, sql, user, password)

    def over_native(self, user: str, password: str, sql: str) -> tuple[bool, bytes]:
        said = ask_native(self.server.tcp_port, user, password, sql)
        return b"Exception: " not in said, said

    def people(self) -> list[tuple[str, str]]:
        passwords, server = self.server.credentials, self.server
        return [(server.reader_user, passwords.reader), (server.writer_user, passwords.writer),
                (server.admin_user, passwords.admin)]  # fmt: skip

    def unharmed(self, pid: int | None) -> None:
        """Nothing was made, connected to, or brought down."""
        assert self.server.pid == pid is not None
        assert [path.name for path in self.outside.iterdir()] == ["secret"]
        assert (self.outside / "secret").read_text() == CANARY
        with pytest.raises(BlockingIOError):
            self.listener.accept()
        reader = (self.server.reader_user, self.server.credentials.reader)
        assert self.over_http(*reader, "SELECT count() FROM cx.kept") == (True, b"1\n")


def http(port: int, sql: str, user: str = "", password: str = "", **headers: str) -> tuple[bool, bytes]:
    """Whether it was answered, and head and body of what came."""
    if user:
        headers |= {"X-ClickHouse-User": user, "X-ClickHouse-Key": password}
    request = urllib.request.Request(f"http://127.0.0.1:{port}/", data=sql.encode(), headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            body = answer.read()
            # A failure in the middle of an answer stands in its text.
            return b"DB::Exception" not in body, body
    except urllib.error.HTTPError as error:
        return False, error.headers.as_bytes() + error.read()


@pytest.fixture(scope="module", params=["embedded", "installed"])
def target(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    """The server of `cx up`; and one with the users of `deploy/clickhouse`, as far as this engine can be one."""
    folder, outside = tmp_path_factory.mktemp("attacked"), tmp_path_factory.mktemp("outside")
    (outside / "secret").write_text(CANARY)
    passwords = install_users(folder) if request.param == "installed" else None
    with (
        running_server(folder, wide=False, passwords=passwords) as server,
        socket.create_server(("127.0.0.1", 0)) as listener,
    ):
        listener.setblocking(False)
        found = Target(server, outside, listener)
        for place in ("store", "log"):
            (folder / place / "link").symlink_to(outside / "secret")
        for sql in ("CREATE DATABASE cx", "CREATE TABLE cx.kept (x UInt8) ENGINE = MergeTree ORDER BY x",
                    "INSERT INTO cx.kept VALUES (1)"):  # fmt: skip
            assert found.over_http(server.admin_user, server.credentials.admin, sql)[0]
        yield found


@pytest.mark.parametrize("sql", READS_FILES + WRITES_FILES + REACHES_OUT + RUNS_PROGRAMS + TAKES_RIGHTS)
def test_nothing_beyond_its_rights_is_done_for_a_user(target: Target, sql: str) -> None:
    """Neither for reader nor for writer, over neither port; whoever has no password learns not even an error of it."""
    if sql in READS_FILES and not confinement.available():
        pytest.skip("this kernel has no Landlock")
    pid, filled = target.server.pid, target.fill(sql)
    for user, password in target.people()[:2]:
        for ask in (target.over_http, target.over_native):
            answered, said = ask(user, password, filled)
            assert not answered, (user, said)
            assert not any(secret in said for secret in target.secrets())
    target.unharmed(pid)


@pytest.mark.parametrize("target", ["embedded"], indirect=True)
@pytest.mark.parametrize("sql", READS_FILES + WRITES_FILES + REACHES_OUT + RUNS_PROGRAMS + OF_THE_ADMIN)
def test_the_owner_of_the_schema_reaches_no_file_either(target: Target, sql: str) -> None:
    """Not by tables, functions and dictionaries of its own."""
    if confinement.abi() < 4:
        pytest.skip("this kernel has no Landlock, or one that knows nothing of ports")
    pid, filled = target.server.pid, target.fill(sql)
    admin = target.people()[2]
    _, said = target.over_http(*admin, filled)
    assert not any(secret in said for secret in target.secrets())
    if sql in OF_THE_ADMIN:
        name = filled.split()[2]
        answered, said = target.over_http(*admin, f"SELECT dictGet('{name}', 'v', 1)")
        assert not answered
        assert CANARY.encode() not in said
        target.over_http(*admin, f"DROP DICTIONARY IF EXISTS {name}")
    target.unharmed(pid)


@pytest.mark.parametrize("sql", SAYS_NO_SECRET + OF_NO_USE)
def test_what_is_answered_holds_no_secret_and_does_no_harm(target: Target, sql: str) -> None:
    """Whether or not it is answered."""
    pid, filled = target.server.pid, target.fill(sql)
    for person in target.people():
        for ask in (target.over_http, target.over_native):
            assert not any(secret in ask(*person, filled)[1] for secret in target.secrets())
    target.unharmed(pid)


@pytest.mark.parametrize(
    "sql", ["SELECT 1", "SELECT file('{outside}/secret')", "SHOW DATABASES", "SYSTEM STOP LISTEN TCP"]
)
@pytest.mark.parametrize(
    ("user", "password"),
    [("", ""), ("default", ""), ("default", "default"), ("cx_reader", ""), ("cx_reader", "wrong"), ("cx_writer", ""),
     ("cx_admin", ""), ("cx_admin", "' OR 1=1"), ("nobody", ""), ("default\0", ""), ("cx_dictionaries", "")],
)  # fmt: skip
def test_nobody_gets_in_without_a_password(target: Target, user: str, password: str, sql: str) -> None:
    """Least of all as the user that the engine itself is; over no port, and by no way to say who one is."""
    pid, filled = target.server.pid, target.fill(sql)
    port = target.server.http_port
    refusals = (b"AUTHENTICATION_FAILED", b"USER_SESSION_LIMIT_EXCEEDED", b"REQUIRED_PASSWORD")
    query = urllib.parse.urlencode({"user": user, "password": password, "query": filled})
    answers = [
        http(port, filled, **{"X-ClickHouse-User": urllib.parse.quote(user), "X-ClickHouse-Key": password}),
        get(port, f"/?{query}"),
        get(port, f"/?{query}&session_id=x"),
    ]
    for answered, said in answers:
        assert not answered
        assert any(refusal in said for refusal in refusals), said
    said = ask_native(target.server.tcp_port, user, password, filled)
    assert b"Authentication failed" in said or b"overflown session count" in said
    target.unharmed(pid)


def get(port: int, path: str, **headers: str) -> tuple[bool, bytes]:
    try:
        request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", headers=headers)
        with urllib.request.urlopen(request, timeout=60) as answer:
            return True, answer.headers.as_bytes() + answer.read()
    except urllib.error.HTTPError as error:
        return False, error.headers.as_bytes() + error.read()


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.test"}, {"Origin": "null"}, {"Origin": "http://127.0.0.1:1"}, {"Host": "evil.test"},
        {"Host": "evil.test:{port}"}, {"Host": "127.0.0.1.evil.test:{port}"}, {"Host": "localhost:1"}, {"Host": "0.0.0.0:{port}"},
        {"Sec-Fetch-Site": "cross-site"}, {"Sec-Fetch-Site": "same-site"}, {"Host": "[::1]:{port}"},
        {"Origin": "http://localhost:{port}.evil.test"}, {"Origin": "http://127.0.0.1:{port}", "Sec-Fetch-Site": "cross-site"},
    ],
)  # fmt: skip
@pytest.mark.parametrize("target", ["embedded"], indirect=True)
@pytest.mark.parametrize(
    "path", ["/", "/?query=SELECT+1", "/ping", "/play", "/dashboard", "/replicas_status", "/metrics"]
)
def test_a_page_on_the_web_gets_no_answer(target: Target, path: str, headers: dict[str, str]) -> None:
    """By its own name or by one that it made point here; not even with the right password, and no header invites it."""
    port, passwords = target.server.http_port, target.server.credentials
    made = {name: value.replace("{port}", str(port)) for name, value in headers.items()}
    made |= {"X-ClickHouse-User": target.server.reader_user, "X-ClickHouse-Key": passwords.reader}
    answered, said = get(port, path, **made)
    assert not answered
    assert b"access-control-allow" not in said.lower()
    assert b"There is no handle" in said


def test_no_answer_invites_other_origins(target: Target) -> None:
    """Neither to whom the server answers, nor when it is asked to."""
    port, passwords = target.server.http_port, target.server.credentials
    who = {"X-ClickHouse-User": target.server.reader_user, "X-ClickHouse-Key": passwords.reader}
    answered, said = get(port, "/?query=SELECT+1", Origin=f"http://127.0.0.1:{port}", **who)
    assert answered
    assert b"allow-origin" not in said.lower()
    answered, said = get(port, "/?query=SELECT+1&add_http_cors_header=1", **who)
    assert not answered
    assert b"READONLY" in said


def test_the_file_for_installed_servers_invites_nobody() -> None:
    """It takes back the header that a server's own file gives to every origin, and listeners that nobody uses."""
    settings = ET.parse(DEPLOY / "server.xml").getroot()
    headers = settings.find("http_options_response")
    assert headers is not None
    assert headers.attrib == {"replace": "replace"}
    assert [name.text for name in headers.iter("name")] == ["Vary"]
    for port in ("mysql_port", "postgresql_port"):
        assert settings.find(port).attrib == {"remove": "remove"}  # type: ignore[union-attr]
