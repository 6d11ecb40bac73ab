"""A mail server that accepts messages over SMTP and keeps them."""

from __future__ import annotations

import socketserver
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from email import message_from_bytes, policy
from email.message import EmailMessage


class MailServer(socketserver.ThreadingTCPServer):
    """Listens on a free port of this machine.

    `refused` are addresses it rejects. It takes `delay` seconds to accept a message.
    """

    daemon_threads = True

    def __init__(self, refused: tuple[str, ...] = (), delay: float = 0) -> None:
        super().__init__(("127.0.0.1", 0), _Conversation)
        self.refused = refused
        self.delay = delay
        self.messages: list[EmailMessage] = []

    def handle_error(self, request: object, client_address: object) -> None:
        """Print no traceback: clients of some tests are killed while they send."""

    @property
    def port(self) -> int:
        return self.server_address[1]


class _Conversation(socketserver.StreamRequestHandler):
    server: MailServer

    def handle(self) -> None:
        self.reply("220 ready")
        for line in self.rfile:
            command = line.decode().strip().lower()
            if command == "data":
                self.reply("354 go on")
                self.read_message()
                time.sleep(self.server.delay)
                self.reply("250 accepted")
            elif command == "quit":
                self.reply("221 bye")
                return
            elif any(address in command for address in self.server.refused):
                self.reply("550 no such mailbox")
            else:
                self.reply("250 fine")

    def reply(self, text: str) -> None:
        self.wfile.write(f"{text}\r\n".encode())

    def read_message(self) -> None:
        lines = []
        for line in self.rfile:
            if line == b".\r\n":
                break
            lines.append(line.removeprefix(b"."))
        message = message_from_bytes(b"".join(lines), policy=policy.default)
        assert isinstance(message, EmailMessage)
        self.server.messages.append(message)


@contextmanager
def run_mail_server(
    refused: tuple[str, ...] = (), delay: float = 0
) -> Iterator[MailServer]:
    with MailServer(refused, delay) as server:
        thread = threading.Thread(target=server.serve_forever, args=[0.05])
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
