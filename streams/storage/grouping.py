"""How what is to be stored is cut into inserts, and how these are named."""

import hashlib
from collections.abc import Iterable, Sequence
from typing import Final, TypeVar

from streams.storage.rows import Block

AnyRow = TypeVar("AnyRow")

ROWS_PER_INSERT: Final = 200_000
"""KPI rows of one insert; part of the tokens, so a change doubles nothing only once all older records are done."""

BYTES_PER_INSERT: Final = 128 * 1024 * 1024
"""Payloads of one insert; the server cuts what is larger than twice that, and a token would name each piece."""


def require_sound(block: Block) -> None:
    """
    Check that what a range holds fits its records.

    Raises:
        ValueError: It does not.
    """
    stored, bad = block.events.rows, len(block.dead_letters)
    read = block.last - block.first + 1
    if read < stored + bad + block.duplicates:
        raise ValueError(
            f"block {block.token}: {stored} payloads, {bad} dead letters and"
            f" {block.duplicates} duplicates do not fit {read} records"
        )


def groups(blocks: Sequence[Block]) -> Iterable[Sequence[Block]]:
    """Cut blocks into inserts that the server takes in one piece."""
    start = size = 0
    for place, block in enumerate(blocks):
        if place > start and size + block.events.size > BYTES_PER_INSERT:
            yield blocks[start:place]
            start, size = place, 0
        size += block.events.size
    if blocks:
        yield blocks[start:]


def token_of(blocks: Sequence[Block]) -> str:
    """Name all ranges of an insert."""
    token = blocks[0].token
    if len(blocks) == 1:
        return token
    names = "\n".join(block.token for block in blocks)
    return f"{token}+{len(blocks) - 1}-{hashlib.blake2b(names.encode(), digest_size=16).hexdigest()}"


def chunks(rows: Sequence[AnyRow], token: str) -> Iterable[tuple[str, Sequence[AnyRow]]]:
    """Cut rows into inserts, each with a token of its own."""
    for place, start in enumerate(range(0, len(rows), ROWS_PER_INSERT)):
        yield f"{token}/{place}" if place else token, rows[start : start + ROWS_PER_INSERT]
