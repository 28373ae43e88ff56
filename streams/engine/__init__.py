"""What we add to Faust: whole batches, honest commits, fenced state, declared topics, a watchdog."""

from streams.engine.app import MAX_RECORD_BYTES, BatchApp
from streams.engine.batch import RecordBatch
from streams.engine.lane import Assignment, Lane
from streams.engine.outgoing import Outgoing, StaleGenerationError
from streams.engine.state import FencedTable

__all__ = [
    "MAX_RECORD_BYTES",
    "Assignment",
    "BatchApp",
    "FencedTable",
    "Lane",
    "Outgoing",
    "RecordBatch",
    "StaleGenerationError",
]
