"""A producer that keeps what is sent, where a test looks at the events of a command."""

from typing import Any, Self

from streams.producers.delivery import FlushReport


class Sent:
    """Takes events as Kafka would, or all but one."""

    def __init__(self, *, takes: bool = True) -> None:
        self.events: list[dict[str, Any]] = []
        self._takes = takes

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Nothing is left to send."""

    def send(self, one: dict[str, Any]) -> None:
        self.events.append(one)

    def flush(self, _: float) -> FlushReport:
        n = len(self.events)
        return FlushReport(n, 0, [], {}) if self._takes else FlushReport(n - 1, 1, [], {})
