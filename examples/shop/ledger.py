"""The ledger: a TCP protocol in which the server speaks first, as SMTP and MySQL do.

220 ledger ready
VISIT alice
250 alice has been here 1 times
QUIT
221 bye
"""

from __future__ import annotations

import collections
import signal
import socketserver
import threading

VISITS: collections.Counter[str] = collections.Counter()


class Conversation(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        self.say("220 ledger ready")
        for line in self.rfile:
            match line.decode("utf-8", errors="replace").split():
                case ["VISIT", name]:
                    VISITS[name] += 1
                    self.say(f"250 {name} has been here {VISITS[name]} times")
                case ["QUIT"]:
                    self.say("221 bye")
                    return
                case _:
                    self.say("500 say VISIT NAME or QUIT")

    def say(self, line: str) -> None:
        self.wfile.write(f"{line}\n".encode())


class Ledger(socketserver.ThreadingTCPServer):
    allow_reuse_address = True


if __name__ == "__main__":
    with Ledger(("", 7000), Conversation) as server:
        signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=server.shutdown).start())
        print("the ledger is open", flush=True)
        server.serve_forever()
