"""What the workers say of themselves that the store cannot know: what is stopped, waits, or is not being stored."""

from collections.abc import Sequence
from typing import Literal, NamedTuple, TypeAlias

from streams.local.observe import UNCOUNTED_WAY_OUT, WorkerState, worker_places, worker_state
from streams.settings import Settings

Kind: TypeAlias = Literal["stopped", "waiting", "uncounted", "not_stored"]


class WorkerTrouble(NamedTuple):
    """
    Something that does not go on.

    Attributes:
        kind: stopped: most of its records are bad; waiting: for a right clock; uncounted: its ranges contradict each
            other; not_stored: ClickHouse does not take it.
        what: A source partition, or a table.
        since: Unix s; 0 where it is not known.
        why: In the server's words; empty where the kind says it all.
    """

    kind: Kind
    what: str
    since: float = 0.0
    why: str = ""


class Workers:
    """The workers that the page asks."""

    def __init__(self, places: Sequence[tuple[str, int]]) -> None:
        """`places` are host and port of their metrics."""
        self._places = places

    @classmethod
    def of(cls, settings: Settings) -> "Workers":
        """
        Return the workers that settings name.

        Raises:
            ConfigError: One is no host and port.
        """
        return cls(worker_places(settings))

    def troubles(self) -> list[WorkerTrouble]:
        """Return what does not go on; of a worker that does not answer nothing is known."""
        states = [worker_state(port, host) for host, port in self._places]
        return [trouble for state in states if state is not None for trouble in _troubles(state)]


def _troubles(state: WorkerState) -> list[WorkerTrouble]:
    return [
        *(
            WorkerTrouble("stopped", one.source, one.since, f"{one.reason}: {one.message}; {one.ways_out}")
            for one in state.stopped
        ),
        *(WorkerTrouble("waiting", source) for source in state.waiting),
        *(WorkerTrouble("uncounted", source, why=UNCOUNTED_WAY_OUT) for source in state.uncounted),
        *(WorkerTrouble("not_stored", one.what, one.since, one.why) for one in state.not_stored),
    ]
