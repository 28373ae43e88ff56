"""
The only worker of an installation: it has all partitions, and no group to join.

The broker's group protocol deals partitions out among several, and lets whoever joins wait for the others. One worker
that is alone needs neither: what its Kafka client asks the group is answered here, as by a group of one member, and
offsets are committed as a consumer without a group does. The broker takes such commits as long as the group has no
members. That nobody else is the only worker is for the caller to see to, by a lock.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Any, Final

from aiokafka.protocol.admin import DescribeGroupsRequest
from aiokafka.protocol.group import (
    HeartbeatResponse_v1,
    JoinGroupResponse_v5,
    LeaveGroupResponse_v1,
    SyncGroupResponse_v1,
)

log = logging.getLogger(__name__)

NAME: Final = "sole"
"""Name of the one member."""

_LOOK_AGAIN_S: Final = 1.0
_NO_GENERATION: Final = -1
_NO_SUCH_MEMBER: Final = 25


class SoleMembership:
    """
    Sends the requests of one Kafka client, and answers those to its group.

    Args:
        send: The client's own way to send a request to a node.
    """

    def __init__(self, send: Any) -> None:
        self._send = send
        self._joined = 0

    async def send(self, node_id: int, request: Any, **options: Any) -> Any:
        """Return the answer to a request, from the broker unless it is to the group."""
        # Named by class, since the library keeps one class for all versions of a request.
        kind = type(request).__name__
        if kind == "JoinGroupRequest":
            return await self._join(node_id, request, **options)
        if kind == "SyncGroupRequest":
            ((_member, assignment),) = request._group_assignment  # noqa: SLF001
            return SyncGroupResponse_v1(0, 0, assignment)
        if kind == "HeartbeatRequest":
            return HeartbeatResponse_v1(0, 0)
        if kind == "LeaveGroupRequest":
            return LeaveGroupResponse_v1(0, 0)
        if kind == "OffsetCommitRequest":
            request._consumer_group_generation_id = _NO_GENERATION  # noqa: SLF001
            request._consumer_id = ""  # noqa: SLF001
        return await self._send(node_id, request, **options)

    async def _join(self, node_id: int, request: Any, **options: Any) -> JoinGroupResponse_v5:
        name, metadata = request._group_protocols[0]  # noqa: SLF001
        error, members = await self._others(node_id, request._group, **options)  # noqa: SLF001
        if error:  # while the broker loads the group, or another one has it, nobody knows who is in it
            return JoinGroupResponse_v5(0, error, _NO_GENERATION, "", "", "", [])
        if members:
            log.error(
                "the group %s has %d members: the only worker (CX_SOLE_WORKER) waits until they have ended",
                request._group,  # noqa: SLF001
                members,
            )
            await asyncio.sleep(_LOOK_AGAIN_S)
            return JoinGroupResponse_v5(0, _NO_SUCH_MEMBER, _NO_GENERATION, "", "", "", [])
        self._joined += 1
        return JoinGroupResponse_v5(0, 0, self._joined, name, NAME, NAME, [(NAME, None, metadata)])

    async def _others(self, node_id: int, name: str, **options: Any) -> tuple[int, int]:
        """Return the broker's error code, and how many members its group has."""
        answer = await self._send(node_id, DescribeGroupsRequest([name]), **options)
        ((error, _name, _state, _type, _protocol, members, *_rights),) = answer.groups
        return error, len(members)
