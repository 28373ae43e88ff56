"""Tokens for aiokafka, apart from the rest: a producer that is installed alone has no aiokafka."""

import asyncio

from aiokafka.abc import AbstractTokenProvider

from streams.secured.tokens import Tokens


class AsyncProvider(AbstractTokenProvider):  # type: ignore[misc]
    """Tokens as aiokafka asks for them."""

    def __init__(self, tokens: Tokens) -> None:
        self._tokens = tokens

    async def token(self) -> str:
        """Return a token that is valid now."""
        return await asyncio.to_thread(self._tokens.get)
