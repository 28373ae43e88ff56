"""The engine overrides and reads private parts: proven on these versions, with these names, and no others."""

import inspect
import sys
from importlib.metadata import version
from typing import Any

import aiokafka
import faust
import faust.streams
import pytest
from aiokafka.client import AIOKafkaClient
from aiokafka.consumer.fetcher import Fetcher, FetchResult, PartitionRecords
from aiokafka.consumer.group_coordinator import (
    GroupCoordinator,
    JoinGroupRequest,
    OffsetCommitRequest,
    SyncGroupRequest,
)
from aiokafka.consumer.subscription_state import SubscriptionState, TopicPartitionState
from aiokafka.producer.message_accumulator import MessageAccumulator
from aiokafka.producer.sender import Sender
from aiokafka.record._crecords import DefaultRecordBatch
from faust.agents import Agent
from faust.app.base import App
from faust.tables.manager import TableManager
from faust.tables.recovery import Recovery
from faust.transport import consumer as base
from faust.transport.drivers import aiokafka as driver

from streams.engine.app import SAFE_DEFAULTS, BatchApp
from streams.engine.consumer import BatchConsumer
from streams.engine.drain import BatchConsumerThread
from streams.engine.producer import LeasedProducer
from streams.engine.state import PromptTables


@pytest.mark.parametrize(
    ("package", "proven"), [("faust-streaming", "0.15.3"), ("mode-streaming", "0.7.1"), ("aiokafka", "0.14.0")]
)
def test_versions_are_the_proven_ones(package: str, proven: str) -> None:
    assert version(package) == proven


def test_the_compiled_iterator_is_used() -> None:
    # The pure-Python one acknowledges events that it skips after a rebalance.
    assert faust.streams._CStreamIterator is not None


OVERRIDDEN: list[tuple[type, type, list[str]]] = [
    (App, BatchApp, ["_new_transport", "_new_producer_transport", "on_rebalance_end", "on_start"]),
    (driver.Producer, LeasedProducer, ["_new_producer"]),
    (TableManager, PromptTables, ["on_start"]),
    (
        driver.Consumer,
        BatchConsumer,
        [
            "_new_consumer_thread",
            "getmany",
            "resume_partitions",
            "_filter_tps_with_pending_acks",
            "_new_offset",
            "_commit_offsets",
            "_add_gap",
            "on_partitions_revoked",
            "on_partitions_assigned",
            "wait_empty",
        ],
    ),
    (
        driver.AIOKafkaConsumerThread,
        BatchConsumerThread,
        ["__post_init__", "_create_worker_consumer", "_fetch_records", "_highwaters", "seek_to_committed"],
    ),
]


@pytest.mark.parametrize(
    ("stock", "ours", "name"), [(stock, ours, name) for stock, ours, names in OVERRIDDEN for name in names]
)
def test_overridden_methods_still_exist_with_the_same_parameters(stock: type, ours: type, name: str) -> None:
    theirs, mine = inspect.signature(getattr(stock, name)), inspect.signature(getattr(ours, name))
    assert list(theirs.parameters) == list(mine.parameters)


def test_everything_overridden_is_listed_here() -> None:
    for stock, ours, names in OVERRIDDEN:
        replaced = {name for name in vars(ours) if callable(getattr(ours, name)) and hasattr(stock, name)}
        assert replaced - {"__init__", "__new__"} == set(names)


USED: list[tuple[Any, list[str]]] = [
    (base.Consumer, ["_commit", "commit", "maybe_wait_for_commit_to_finish", "commit_and_end_transactions"]),
    (base.Consumer, ["_get_active_partitions", "_filter_committable_offsets", "_drain_messages"]),
    (driver.Consumer, ["_to_message", "highwater", "assignment"]),
    (driver.AIOKafkaConsumerThread, ["getmany", "call_thread", "_ensure_consumer"]),
    (Fetcher, ["_create_fetch_waiter", "_notify", "seek_to", "fetched_records"]),
    (PartitionRecords, ["_consume_aborted_up_to", "_contains_abort_marker"]),
    (DefaultRecordBatch, ["is_transactional", "producer_id"]),
    (FetchResult, ["check_assignment", "has_more", "_update_position", "getall"]),
    (SubscriptionState, ["fetch_context", "reassignment_in_progress", "wait_for_assignment", "is_assigned"]),
    (TopicPartitionState, ["position", "has_valid_position"]),
    (GroupCoordinator, ["fetch_committed_offsets"]),
    (AIOKafkaClient, ["send", "ready"]),
    (MessageAccumulator, ["fail_all"]),
    (Sender, ["close"]),
    (DefaultRecordBatch, ["validate_crc", "next_offset", "base_offset", "is_control_batch", "max_timestamp"]),
    (Recovery, ["_slurp_changelogs"]),
    (TableManager, ["_update_channels", "recovery"]),
]


@pytest.mark.parametrize(("owner", "name"), [(owner, name) for owner, names in USED for name in names])
def test_used_private_parts_still_exist(owner: Any, name: str) -> None:
    assert hasattr(owner, name)


INSTANCE_ATTRIBUTES: list[tuple[Any, list[str]]] = [
    (Fetcher, ["_records", "_subscriptions", "_wait_consume_future", "_closed"]),
    (PartitionRecords, ["_records", "_records_iterator", "next_fetch_offset", "_check_crcs"]),
    (PartitionRecords, ["_isolation_level", "_aborted_producers"]),
    (FetchResult, ["_partition_records"]),
    (aiokafka.AIOKafkaConsumer, ["_fetcher", "_coordinator", "_client", "_closed", "_fetch_max_wait_ms"]),
    (aiokafka.AIOKafkaConsumer, ["_subscription"]),
    (aiokafka.AIOKafkaConsumer, ["_isolation_level"]),
    (TopicPartitionState, ["highwater", "lso"]),
    (Agent, ["_actors"]),
    (base.Consumer, ["_active_partitions", "_buffered_partitions", "flow_active", "can_resume_flow"]),
    (App, ["rebalancing", "rebalancing_count", "consumer_generation_id"]),
    (GroupCoordinator, ["generation"]),
    (aiokafka.AIOKafkaProducer, ["client", "_closed", "_message_accumulator", "_sender"]),
    (MessageAccumulator, ["_batches", "_pending_batches"]),
    (Recovery, ["active_offsets"]),
    (JoinGroupRequest, ["_group", "_group_protocols"]),
    (SyncGroupRequest, ["_group_assignment"]),
    (OffsetCommitRequest, ["_consumer_group_generation_id", "_consumer_id"]),
]


@pytest.mark.parametrize(("owner", "name"), [(owner, name) for owner, names in INSTANCE_ATTRIBUTES for name in names])
def test_used_attributes_are_still_set(owner: Any, name: str) -> None:
    sources = "".join(inspect.getsource(cls) for cls in owner.__mro__ if cls.__module__.split(".")[0] in USED_PACKAGES)
    assert (
        f"self.{name} =" in sources
        or f"self.{name}:" in sources
        or f"    {name}:" in sources
        or (f"    {name} =" in sources)
    )


def test_the_lease_still_knows_the_requests_that_prove_membership() -> None:
    source = inspect.getsource(sys.modules[GroupCoordinator.__module__])
    for name in (
        "JoinGroupRequest",
        "HeartbeatRequest",
        "SyncGroupRequest",
        "OffsetCommitRequest",
        "LeaveGroupRequest",
    ):
        assert f"{name}(" in source


USED_PACKAGES = {"faust", "aiokafka", "mode"}


def test_recovery_still_logs_what_it_swallows_under_the_text_the_watchdog_knows() -> None:
    from streams.engine.watchdog import RECOVERY_LOGGER, SWALLOWED

    assert Recovery.__module__ == RECOVERY_LOGGER
    assert f'logger.warning(f"{SWALLOWED}' in inspect.getsource(Recovery)


def test_defaults_are_settings_that_faust_knows() -> None:
    app = faust.App("defaults", broker="kafka://127.0.0.1:1", **SAFE_DEFAULTS)
    for name in SAFE_DEFAULTS:
        assert hasattr(app.conf, name)
    assert app.conf.agent_supervisor.__name__ == "CrashingSupervisor"
    assert app.conf.table_standby_replicas == 0
