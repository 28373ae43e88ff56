"""Customers of a shop on two channels, some of whom turn out to be one person."""

from datetime import UTC, datetime
from typing import Any

import msgspec

from streams.producers.wire import partition_of
from tests.harness.twin import Broker


def send_shoppers(broker: Broker, now: float, partitions: int) -> None:
    """
    Some customers on two channels over three hours, out of order by up to half a minute, with late ones.

    Two of them turn out to be one person, whose keys lie in two partitions, and then that one is merged into a third.
    """

    def send(number: int, subject: str, kind: str, data: dict[str, Any], ago_s: float) -> None:
        at = datetime.fromtimestamp(now - ago_s, UTC).isoformat()
        channel = ("web", "call_center")[number % 2]
        raw = {"specversion": "1.0", "id": f"e{number}", "source": "s", "type": f"cx.{kind}", "time": at, "data": data}
        place = partition_of(subject.encode(), partitions)
        value = msgspec.json.encode({**raw, "subject": subject, "channel": channel})
        broker.send(f"cx.touchpoints.{channel}", place, value)

    keys = {place: [f"c-{n}" for n in range(20) if partition_of(b"c-%d" % n, partitions) == place] for place in (0, 1)}
    subjects = [keys[0][0], keys[1][0], keys[0][1], keys[1][1]]
    doings = [("page.viewed", {"page": "home"}), ("cart.added", {}), ("order.placed", {})]
    doings += [("contact.closed", {"topic": "billing"}), ("contact.opened", {"topic": "billing"})]
    for number in range(90):
        kind, data = doings[number * 7 % 5]
        ago = 10_800 - 120 * number - number * 37 % 30 + (7_000 if number % 31 == 30 else 0)
        send(number, subjects[number % 4], kind, data, ago)
        if number == 60:
            send(200, subjects[0], "identity.linked", {"alias": subjects[1]}, ago)
        if number == 70:
            send(201, subjects[0], "identity.merged", {"merged_into": subjects[2]}, ago)
    # All partitions have read up to one moment in the end.
    for number in range(4):
        send(300 + number, keys[number // 2][2], "page.viewed", {"page": "home"}, 100)
