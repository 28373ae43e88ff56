"""Grant and take away rights on a broker, as its administrator, and wait until it goes by them."""

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from kafka import KafkaAdminClient
from kafka.admin import (
    ACL,
    ACLFilter,
    ACLOperation,
    ACLPermissionType,
    ACLResourcePatternType,
    ResourcePattern,
    ResourceType,
)

from streams.engine.rights import Right


class Rights:
    """The rights on one broker; `bootstrap` is a listener where one may do everything."""

    def __init__(self, bootstrap: str) -> None:
        self._admin = KafkaAdminClient(bootstrap_servers=bootstrap)

    def grant(self, user: str, rights: Iterable[Right]) -> None:
        done = self._admin.create_acls([
            ACL(*_entry(user, operation), ACLPermissionType.ALLOW, _pattern(right))
            for right in rights
            for operation in right.operations
        ])  # fmt: skip
        assert not done["failed"]

    @contextmanager
    def without(self, user: str, right: Right, operation: str) -> Iterator[None]:
        """Take one operation away for the time of a block."""
        one = right._replace(operations=(operation,))
        for _filter, removed, error in self._admin.delete_acls([
            ACLFilter(*_entry(user, operation), ACLPermissionType.ALLOW, _pattern(right))
        ]):  # fmt: skip
            assert len(removed) == 1, error
        try:
            yield
        finally:
            self.grant(user, [one])

    def close(self) -> None:
        self._admin.close()


def eventually(ask: Callable[[], Any], wanted: Callable[[Any], bool]) -> Any:
    """Ask until the answer is the wanted one: a broker applies rights a moment later; return the last answer."""
    deadline = time.monotonic() + 180
    while not wanted(found := ask()) and time.monotonic() < deadline:
        time.sleep(0.02)
    return found


def _entry(user: str, operation: str) -> tuple[str, str, ACLOperation]:
    return f"User:{user}", "*", ACLOperation[operation]


def _pattern(right: Right) -> ResourcePattern:
    return ResourcePattern(ResourceType[right.resource], right.name, ACLResourcePatternType.LITERAL)
