"""relay.py PORT SOCKET COMMAND…: the inner end of a sandbox's only way out. Python's own library alone.

Listens on 127.0.0.1:PORT of the sandbox's network and carries every connection to the Unix socket, whose
other end lies outside. Runs COMMAND beside that and ends as it does.
"""

import contextlib
import socket
import subprocess
import sys
import threading

COPY_BYTES = 64 * 1024


def carry(inner: socket.socket, path: str) -> None:
    outer = socket.socket(socket.AF_UNIX)
    try:
        outer.connect(path)
    except OSError:
        inner.close()
        return
    threads = [
        threading.Thread(target=copy, args=(inner, outer), daemon=True),
        threading.Thread(target=copy, args=(outer, inner), daemon=True),
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    inner.close()
    outer.close()


def copy(source: socket.socket, target: socket.socket) -> None:
    """Until the end of one direction; a side that has gone takes the other direction with it."""
    try:
        while data := source.recv(COPY_BYTES):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)
    except OSError:
        for end in (source, target):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)


def listen(server: socket.socket, path: str) -> None:
    while True:
        inner, _ = server.accept()
        threading.Thread(target=carry, args=(inner, path), daemon=True).start()


def main(port: int, path: str, command: list[str]) -> int:
    server = socket.create_server(("127.0.0.1", port), backlog=64)
    threading.Thread(target=listen, args=(server, path), daemon=True).start()
    code = subprocess.run(command, check=False).returncode
    return code if code >= 0 else 128 - code  # ended by a signal, as a shell says it


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), sys.argv[2], sys.argv[3:]))
