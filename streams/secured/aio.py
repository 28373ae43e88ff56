"""Tokens for aiokafka, apart from the rest: a producer that is installed alone has no aiokafka."""

import asyncio
from typing import Any

from aiokafka.abc import AbstractTokenProvider

from streams.secured.kafka import kafka_client_options
from streams.secured.tokens import Tokens
from streams.settings import Settings


class AsyncProvider(AbstractTokenProvider):  # type: ignore[misc]
    """Tokens as aiokafka asks for them."""

    def __init__(self, tokens: Tokens) -> None:
        self._tokens = tokens

    async def token(self) -> str:
        """Return a token that is valid now."""
        return await asyncio.to_thread(self._tokens.get)


def reading_options(settings: Settings) -> dict[str, Any]:
    """Return the options of a secured connection as aiokafka wants them."""
    options = kafka_client_options(settings)
    if "sasl_oauth_token_provider" in options:
        options["sasl_oauth_token_provider"] = AsyncProvider(Tokens(settings))
    return options
