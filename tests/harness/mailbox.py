"""A mail server on loopback that keeps what it is sent."""

import base64
import email
import socketserver
import ssl
import threading
from email.message import EmailMessage
from email.policy import default
from types import TracebackType
from typing import Self


class Mailbox:
    """
    Speaks as much SMTP as it takes to be handed a mail.

    With `tls` it takes none before STARTTLS, with `login` (user and password) none from others, and none for who is
    `refused`; a `rude` one hangs up without a farewell.
    """

    def __init__(
        self,
        tls: ssl.SSLContext | None = None,
        login: tuple[str, str] | None = None,
        refused: tuple[str, ...] = (),
        *,
        rude: bool = False,
    ) -> None:
        self.mails: list[EmailMessage] = []
        mails = self.mails

        class Handler(socketserver.StreamRequestHandler):
            encrypted = known = False

            def handle(self) -> None:
                self._say("220 here")
                while line := self.rfile.readline():
                    command = line[:4].upper().strip()
                    if command == b"QUIT":
                        if not rude:
                            self._say("221 bye")
                        return
                    if command == b"EHLO" and tls is not None:
                        self._say("250-here\r\n250-AUTH PLAIN" if self.encrypted else "250-here")
                        self._say("250 fine" if self.encrypted else "250 STARTTLS")
                    elif command == b"STAR":
                        self._say("220 go on")
                        self._encrypt()
                    elif command == b"AUTH":
                        self.known = login == tuple(base64.b64decode(line.split()[2]).decode().split("\0")[1:])
                        self._say("235 welcome" if self.known else f"535 not {line.decode().split()[2]}")
                    elif command == b"MAIL" and ((tls and not self.encrypted) or (login and not self.known)):
                        self._say("530 who are you")
                    elif command == b"RCPT" and any(one.encode() in line for one in refused):
                        self._say("550 nobody of that name")
                    else:
                        if command == b"DATA":
                            self._say("354 go on")
                            mails.append(email.message_from_bytes(b"".join(self._lines()), policy=default))
                        self._say("250 fine")

            def _encrypt(self) -> None:
                assert tls is not None
                self.request = tls.wrap_socket(self.request, server_side=True)
                self.encrypted = True
                self.setup()

            def finish(self) -> None:
                super().finish()
                self.request.close()  # what is encrypted is a socket of its own

            def _lines(self) -> list[bytes]:
                lines = []
                while (line := self.rfile.readline()) not in {b".\r\n", b""}:
                    lines.append(line.removeprefix(b"."))
                return lines

            def _say(self, text: str) -> None:
                self.wfile.write(f"{text}\r\n".encode())

        self._server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.address = f"127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
