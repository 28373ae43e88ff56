"""Whether receivers of alerts can be reached, without telling them of any alert."""

import asyncio
from typing import Final
from urllib.parse import urlsplit

import aiohttp

from streams.delivery.endpoint import name_of
from streams.secured.web import ReceiverAccess

TIMEOUT_S: Final = 5.0


def unreachable(
    alertmanagers: list[str], webhooks: list[str], alerting: ReceiverAccess, hooking: ReceiverAccess
) -> list[str]:
    """
    Ask every Alertmanager for its status, and connect to every webhook; return what went wrong, in sentences.

    Raises:
        ConfigError: the file of a certificate, a password or a token is missing or holds something else.
    """

    async def ask_all() -> list[str]:
        asked = [_ask(url, alerting) for url in alertmanagers] + [_connect(url, hooking) for url in webhooks]
        answers = zip(alertmanagers + webhooks, await asyncio.gather(*asked), strict=True)
        return [f"{name_of(url)}: {said}" for url, said in answers if said]

    return asyncio.run(ask_all())


async def _ask(url: str, access: ReceiverAccess) -> str:
    headers, context = access.headers(), access.context()
    timeout = aiohttp.ClientTimeout(total=TIMEOUT_S)
    try:
        async with (
            aiohttp.ClientSession(trust_env=False, timeout=timeout) as session,
            session.get(f"{url}/api/v2/status", headers=headers, ssl=context, allow_redirects=False) as answer,
        ):
            return "" if answer.ok else access.said(answer.status, await answer.text(errors="replace"))
    except (TimeoutError, aiohttp.ClientError, OSError) as exc:
        return access.tell(exc)


async def _connect(url: str, access: ReceiverAccess) -> str:
    """Connect only: what is posted to a webhook reaches people."""
    parts = urlsplit(url)
    encrypted = parts.scheme == "https"
    access.headers()
    try:
        async with asyncio.timeout(TIMEOUT_S):
            _, writer = await asyncio.open_connection(
                parts.hostname, parts.port or (443 if encrypted else 80), ssl=access.context() if encrypted else None
            )
            writer.close()
            await writer.wait_closed()
    except OSError as exc:
        return access.tell(exc)
    return ""
