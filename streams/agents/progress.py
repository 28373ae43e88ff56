"""How far derived events are complete: said by who sends them to who reads them, in one worker."""

from collections import deque


class DerivedProgress:
    """
    How far derived events are complete, for who reads them: the same worker, since equal partitions belong together.

    The newest of them says little: where nothing happens there is none, and yet nothing is missing.
    """

    def __init__(self) -> None:
        self._promised: dict[int, deque[tuple[int, float]]] = {}
        self._known: dict[int, float] = {}

    def forget(self) -> None:
        """Forget all partitions: they may be another worker's now."""
        self._promised, self._known = {}, {}

    def promise(self, partition: int, emitted: int, until_s: float) -> None:
        """Say that with the event at offset `emitted` all are there up to a moment (Unix s)."""
        promised = self._promised.setdefault(partition, deque())
        if not promised or promised[-1] != (emitted, until_s):
            if promised and promised[-1][0] == emitted:
                promised.pop()
            promised.append((emitted, until_s))

    def until(self, partition: int, read: int) -> float | None:
        """Return up to when all are read by someone who has read everything below offset `read`; None: not known."""
        promised = self._promised.get(partition)
        while promised and promised[0][0] < read:
            self._known[partition] = promised.popleft()[1]
        return self._known.get(partition)
