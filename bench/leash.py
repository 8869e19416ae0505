"""leash.py COMMAND…: runs COMMAND until standard input ends, that is, until whoever started this has gone.

A benchmark that is killed cannot end the server that it has started; the pipe closes with it. Python's own
library alone.
"""

import contextlib
import os
import subprocess
import sys
import threading

GRACE_S = 20.0


def main(command: list[str]) -> int:
    child = subprocess.Popen(command, stdin=subprocess.DEVNULL)
    threading.Thread(target=follow, args=(child,), daemon=True).start()
    sys.stdin.buffer.read()
    child.terminate()
    with contextlib.suppress(subprocess.TimeoutExpired):
        return child.wait(GRACE_S)
    child.kill()
    return child.wait()


def follow(child: "subprocess.Popen[bytes]") -> None:
    """Ends with the child, should that be the first to go."""
    code = child.wait()
    sys.stdout.flush()
    os._exit(code if code >= 0 else 128 - code)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
