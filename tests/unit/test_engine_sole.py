"""What the Kafka client of an installation's only worker asks its group is answered as by a group of one."""

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka.consumer.group_coordinator import (
    HeartbeatRequest,
    JoinGroupRequest,
    LeaveGroupRequest,
    OffsetCommitRequest,
    SyncGroupRequest,
)
from aiokafka.protocol.admin import DescribeGroupsResponse_v3

from streams.engine import sole
from streams.engine.sole import NAME, SoleMembership


class Broker:
    """Notes what reaches it, and says who is in the group."""

    def __init__(self, members: list[list[Any]] | None = None, errors: list[int] | None = None) -> None:
        self.members = members or [[]]
        self.errors = errors or []
        self.asked: list[Any] = []

    async def send(self, node_id: int, request: Any, **options: Any) -> Any:
        self.asked.append((node_id, request, options))
        if type(request).__name__ == "DescribeGroupsRequest":
            found = self.members.pop(0) if len(self.members) > 1 else self.members[0]
            error = self.errors.pop(0) if self.errors else 0
            return DescribeGroupsResponse_v3(0, [(error, "cx", "Empty", "consumer", "", found, 0)])
        return SimpleNamespace(topics=[])


def ask(membership: SoleMembership, request: Any) -> Any:
    return asyncio.run(membership.send(111, request, group="coordination"))


def join(member: str = "") -> JoinGroupRequest:
    return JoinGroupRequest("cx", 6_000, 30_000, member, None, "consumer", [("faust", b"topics"), ("range", b"x")])


def test_it_is_the_leader_of_itself_and_has_what_it_deals_out() -> None:
    broker = Broker()
    membership = SoleMembership(broker.send)
    joined = ask(membership, join())
    assert (joined.error_code, joined.generation_id, joined.group_protocol) == (0, 1, "faust")
    assert joined.leader_id == joined.member_id == NAME
    assert joined.members == [(NAME, None, b"topics")]
    assert joined.API_VERSION == 5, "the client reads members by the version of the answer"
    synced = ask(membership, SyncGroupRequest("cx", 1, NAME, None, [(NAME, b"partitions")]))
    assert (synced.error_code, synced.member_assignment) == (0, b"partitions")
    assert ask(membership, HeartbeatRequest("cx", 1, NAME)).error_code == 0
    assert ask(membership, LeaveGroupRequest("cx", NAME)).error_code == 0
    assert ask(membership, join(NAME)).generation_id == 2
    assert {type(request).__name__ for _, request, _ in broker.asked} == {"DescribeGroupsRequest"}


def test_offsets_are_committed_as_by_a_consumer_without_a_group() -> None:
    broker = Broker()
    ask(SoleMembership(broker.send), OffsetCommitRequest("cx", 7, NAME, -1, [("t", [(0, 5, "")])]))
    ((node, request, options),) = broker.asked
    assert (node, options) == (111, {"group": "coordination"})
    assert (request._consumer_group_generation_id, request._consumer_id) == (-1, "")


def test_it_waits_while_the_group_has_members(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(sole, "_LOOK_AGAIN_S", 0.0)
    member = ("cx-1", "cx", "/127.0.0.1", b"", b"")
    membership = SoleMembership(Broker([[member, member], []]).send)
    refused = ask(membership, join())
    assert refused.error_code == 25
    assert "the group cx has 2 members: the only worker (CX_SOLE_WORKER) waits until they have ended" in caplog.text
    assert ask(membership, join()).error_code == 0


@pytest.mark.parametrize("error", [14, 15, 16])
def test_it_does_not_join_while_the_broker_cannot_say_who_is_in_the_group(error: int) -> None:
    """It loads the group, or is not its coordinator: then it names no members, whoever there is."""
    membership = SoleMembership(Broker(errors=[error]).send)
    assert ask(membership, join()).error_code == error
    assert ask(membership, join()).error_code == 0
