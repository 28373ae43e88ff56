"""
The configuration of the embedded ClickHouse, written at each start: its users, its limits, and to whom it answers.

The engine learns no password but the reader's, with which its own dictionaries read; of the others it has hashes. It
reads these files once, and they are removed as soon as it has started.
"""

import dataclasses
import hashlib
import html
import json
import os
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Final, Self

from streams.storage.grants import ADMIN, READER, WRITER, grants

# The engine signs in to itself as `default`, without a password; that cannot be changed. That session lasts as
# long as the engine, and is the only one that this user may have; so nobody else can ever sign in as `default`.
# The views of KPIs compare little and compute much: looking for chains of comparisons takes two fifths of their time.
_USERS_XML: Final = """\
<clickhouse>
  <profiles>
    <default>
      <max_memory_usage>{query_memory}</max_memory_usage>
      <max_bytes_before_external_group_by>{spill}</max_bytes_before_external_group_by>
      <max_bytes_before_external_sort>{spill}</max_bytes_before_external_sort>
      <network_compression_method>LZ4</network_compression_method>
      <optimize_and_compare_chain>0</optimize_and_compare_chain>
      <allow_python_table_function>0</allow_python_table_function>
      <allow_introspection_functions>0</allow_introspection_functions>
      <add_http_cors_header>0</add_http_cors_header>
      <constraints>
        <allow_python_table_function><const/></allow_python_table_function>
        <allow_introspection_functions><const/></allow_introspection_functions>
        <add_http_cors_header><const/></add_http_cors_header>
      </constraints>
    </default>
    <engine>
      <profile>default</profile>
      <max_sessions_for_user>1</max_sessions_for_user>
      <constraints><max_sessions_for_user><const/></max_sessions_for_user></constraints>
    </engine>
    <cx_reader>
      <profile>default</profile>
      <readonly>1</readonly>
      <max_execution_time>60</max_execution_time>
      <max_result_rows>5000000</max_result_rows>
      <max_result_bytes>1000000000</max_result_bytes>
      <max_rows_to_read>5000000000</max_rows_to_read>
      <max_concurrent_queries_for_user>64</max_concurrent_queries_for_user>
      <constraints><max_execution_time><max>600</max><changeable_in_readonly/></max_execution_time></constraints>
    </cx_reader>
  </profiles>
  <quotas><default/></quotas>
  <users>
    <default><no_password/>{networks}<profile>engine</profile><quota>default</quota>
      <grants><query>GRANT SYSTEM LISTEN ON *.*</query><query>GRANT READ ON FILE</query>
        <query>GRANT CREATE TEMPORARY TABLE ON *.*</query></grants></default>
    {users}
  </users>
</clickhouse>
"""
_USER_XML: Final = """\
<{name}><password_sha256_hex>{hash}</password_sha256_hex>{networks}<profile>{profile}</profile><quota>default</quota>
      <grants>{grants}</grants></{name}>
"""
_NETWORKS: Final = "<networks><ip>127.0.0.1</ip><ip>::1</ip></networks>"
_PROFILES: Final = {ADMIN: "default", WRITER: "default", READER: "cx_reader"}

# Dictionaries read their tables as the reader, which statements must not hold the password of: hence the collection.
# The engine resets `logger.level` unless `log-level` says the same. It waits for idle connections when it stops, so
# these must not live long. Without a default database there is none that shows the files of the machine as tables.
# A page on the web must not get an answer: neither by its own name, nor by one that it made point here, nor by an
# image. What no rule fits is answered by 404, without looking at who asks; all headers must fit, and one that is
# missing is empty.
_CONFIG_XML: Final = """\
<clickhouse>
  <display_name>{name}</display_name>
  <listen_host>127.0.0.1</listen_host>
  <http_port>{http_port}</http_port>
  <tcp_port>{tcp_port}</tcp_port>
  <default_database></default_database>
  <database>system</database>
  <users_config>{directory}/users.xml</users_config>
  <user_directories><users_xml><path>{directory}/users.xml</path></users_xml></user_directories>
  <log-level>warning</log-level>
  <logger><level>warning</level><log>{log}</log><size>20M</size><count>2</count></logger>
  <max_server_memory_usage>{server_memory}</max_server_memory_usage>
  <keep_alive_timeout>3</keep_alive_timeout>
  <http_options_response><header><name>Vary</name><value>Origin</value></header></http_options_response>
  <http_handlers>
    <rule><url>/</url><methods>GET,POST</methods>{asked_from_here}
      <handler><type>dynamic_query_handler</type><query_param_name>query</query_param_name></handler></rule>
    <rule><url>/ping</url><methods>GET,HEAD</methods>{asked_from_here}<handler><type>ping</type></handler></rule>
  </http_handlers>
  <named_collections>
    <cx_dictionaries><host>127.0.0.1</host><user>{reader}</user><password>{reader_password}</password></cx_dictionaries>
  </named_collections>
  <access_control_improvements>
    <select_from_system_db_requires_grant>true</select_from_system_db_requires_grant>
    <on_cluster_queries_require_cluster_grant>true</on_cluster_queries_require_cluster_grant>
    <table_engines_require_grant>true</table_engines_require_grant>
  </access_control_improvements>
  <mark_cache_size>67108864</mark_cache_size>
  <uncompressed_cache_size>0</uncompressed_cache_size>
  <background_pool_size>2</background_pool_size>
  <background_schedule_pool_size>4</background_schedule_pool_size>
  <merge_tree>
    <number_of_free_entries_in_pool_to_execute_mutation>1</number_of_free_entries_in_pool_to_execute_mutation>
    <number_of_free_entries_in_pool_to_lower_max_size_of_merge>1</number_of_free_entries_in_pool_to_lower_max_size_of_merge>
    <number_of_free_entries_in_pool_to_execute_optimize_entire_partition>1</number_of_free_entries_in_pool_to_execute_optimize_entire_partition>
  </merge_tree>
</clickhouse>
"""
_FROM_HERE_XML: Final = (
    r"<headers><Host>regex:^(127\.0\.0\.1|localhost):{port}$</Host>"
    r"<Origin>regex:^(http://(127\.0\.0\.1|localhost):{port})?$</Origin>"
    r"<Sec-Fetch-Site>regex:^(none|same-origin)?$</Sec-Fetch-Site></headers>"
)


@dataclasses.dataclass(frozen=True, slots=True)
class Credentials:
    """The passwords of the three users of an embedded server."""

    admin: str = dataclasses.field(repr=False)
    writer: str = dataclasses.field(repr=False)
    reader: str = dataclasses.field(repr=False)

    @classmethod
    def of_directory(cls, data_dir: Path, given: Mapping[str, str] | None = None) -> Self:
        """
        Read the directory's credentials; make random ones the first time.

        `given` (keys admin, writer, reader) replaces what is stored. The file is readable by its owner only.
        """
        path = data_dir / "credentials.json"
        stored: dict[str, str] = json.loads(path.read_text()) if path.exists() else {}
        wanted = {
            role.name: (given or {}).get(role.name) or stored.get(role.name) or secrets.token_urlsafe(24)
            for role in dataclasses.fields(cls)
        }
        if wanted != stored:
            data_dir.mkdir(parents=True, exist_ok=True)
            write_private(path, json.dumps(wanted))
        return cls(**wanted)


def write_configuration(
    data_dir: Path, credentials: Credentials, *, name: str, database: str, http_port: int, tcp_port: int, memory_mb: int
) -> None:
    """Write what the engine reads at its start, in place of what an earlier start was told."""
    server_dir, memory = data_dir / "server", memory_mb << 20
    passwords = {ADMIN: credentials.admin, WRITER: credentials.writer, READER: credentials.reader}
    users = _USERS_XML.format(
        query_memory=memory * 3 // 4,
        spill=memory // 4,
        networks=_NETWORKS,
        users="    ".join(_user(user, password, database) for user, password in passwords.items()),
    )
    config = _CONFIG_XML.format(
        name=name,
        http_port=http_port,
        tcp_port=tcp_port,
        directory=html.escape(str(server_dir)),
        log=html.escape(str(data_dir / "log" / "clickhouse.log")),
        server_memory=memory,
        reader=READER,
        reader_password=html.escape(credentials.reader),
        asked_from_here=_FROM_HERE_XML.format(port=http_port),
    )
    write_private(server_dir / "users.xml", users)
    write_private(server_dir / "config.xml", config)


def forget_configuration(data_dir: Path) -> None:
    """Remove what the engine has read: nobody is to read it through the engine."""
    for name in ("users.xml", "config.xml"):
        (data_dir / "server" / name).unlink()


def _user(user: str, password: str, database: str) -> str:
    return _USER_XML.format(
        name=user,
        hash=hashlib.sha256(password.encode()).hexdigest(),
        networks=_NETWORKS,
        profile=_PROFILES[user],
        grants="".join(f"<query>{text}</query>" for text in grants(user, database)),
    )


def write_private(path: Path, text: str) -> None:
    """Replace a file at once, readable by its owner only; so is its folder."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    path.parent.chmod(0o700)
    fresh = path.with_suffix(".new")
    fresh.unlink(missing_ok=True)
    with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)
    fresh.replace(path)
