"""Set up this clone for a purpose, and say what is happening.

scripts/set-up serve     packages, engine, demo models: what `hotseat serve` needs
scripts/set-up test      the same, and what the tests need, harnesses included
scripts/set-up check     what scripts/check needs; builds nothing
scripts/set-up peer      llama-server from the engine's sources, for benchmarks; prints its path
scripts/set-up harnesses opencode, Codex and Claude Code, with npm, into .harnesses/
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from types import FrameType
from typing import get_args

from bootstrap.failures import SetupError
from bootstrap.harnesses import install_harnesses, install_harnesses_if_possible
from bootstrap.peer import provide_server
from bootstrap.places import find_places
from bootstrap.progress import Progress
from bootstrap.set_up import set_up
from bootstrap.steps import Purpose
from bootstrap.tools import Tools


def main(arguments: list[str]) -> int:
    purpose = next((known for known in get_args(Purpose) if arguments == [known]), None)
    if purpose is None:
        print(__doc__, file=sys.stderr)
        return 2
    signal.signal(signal.SIGTERM, _stop)
    root = Path(__file__).resolve().parents[2]
    progress = Progress(sys.stderr)
    tools = Tools(find_places(root, os.environ), dict(os.environ), progress)
    try:
        set_up(tools, purpose)
        match purpose:
            case "peer":
                print(provide_server(tools))
            case "harnesses":
                install_harnesses(tools)
            case "test":
                install_harnesses_if_possible(tools)
            case "serve" | "check":
                pass
    except SetupError as error:
        progress.close()
        print(f"hotseat: error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        progress.close()
        print("hotseat: interrupted; the next start goes on where this one stopped", file=sys.stderr)
        return 130
    except OSError as error:
        progress.close()
        print(f"hotseat: error: {error}\n  remedy: {_remedy(error)}", file=sys.stderr)
        return 1
    progress.close()
    return 0


def _stop(signum: int, frame: FrameType | None) -> None:
    """End like Ctrl-C: what was started is ended, what was half made is removed."""
    raise KeyboardInterrupt


def _remedy(error: OSError) -> str:
    place = error.filename or "the directory above"
    return f"check that {place} exists, may be written to and lies on a disk with space"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
