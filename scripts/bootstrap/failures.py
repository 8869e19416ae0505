"""Why set-up failed, in words: the cause and the remedy.

`explain` reads the end of a tool's output against a table of known causes; the first row that
matches wins, so the specific ones stand above the general ones.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

_SHOWN_LINES = 12


class SetupError(Exception):
    """Set-up cannot go on. The message has the cause and the remedy; no traceback is needed."""


class CommandFailed(Exception):
    """A tool ended with a failure. `tail`: its last lines of output; `log`: all of them."""

    def __init__(self, command: str, returncode: int, tail: list[str], log: Path) -> None:
        super().__init__(f"{command} ended with status {returncode}")
        self.command = command
        self.returncode = returncode
        self.tail = tail
        self.log = log


@dataclass(frozen=True, slots=True)
class Signature:
    pattern: re.Pattern[str]
    cause: str
    remedy: str


def _row(pattern: str, cause: str, remedy: str) -> Signature:
    return Signature(re.compile(pattern), cause, remedy)


SIGNATURES = (
    _row(
        r"No space left on device|Errno 28|ENOSPC|Disk quota exceeded",
        "the disk is full",
        "free some space, or set HOTSEAT_HOME to a directory on a larger disk",
    ),
    _row(
        r"DO NOT MATCH THE HASHES",
        "a downloaded file is not the pinned one",
        "try again; if it happens again, an index, proxy or cache on the way serves altered files",
    ),
    _row(
        r"CERTIFICATE_VERIFY_FAILED",
        "the package index's certificate is not trusted here",
        "set PIP_CERT to the certificate bundle of your network",
    ),
    _row(
        r"npm (error|ERR!) code (EINTEGRITY|EBADINTEGRITY)",
        "a downloaded package is not the pinned one",
        "try again; if it happens again, the npm registry or a proxy on the way serves altered files",
    ),
    _row(
        r"npm (error|ERR!) code (E404|ETARGET|ENOVERSIONS)",
        "the npm registry does not have a version that is pinned in locks/harnesses",
        "set NPM_CONFIG_REGISTRY to a registry that is complete",
    ),
    _row(
        r"npm (error|ERR!) code (SELF_SIGNED_\w+|DEPTH_ZERO_SELF_SIGNED_CERT|UNABLE_TO_\w+|CERT_\w+)",
        "the npm registry's certificate is not trusted here",
        "set NODE_EXTRA_CA_CERTS to the certificate bundle of your network",
    ),
    _row(
        r"npm (error|ERR!) code (ENOTFOUND|EAI_AGAIN|ECONN\w+|E\w*TIMED?OUT|ERR_SOCKET\w*|ENETUNREACH)",
        "the npm registry cannot be reached",
        "connect this machine, or set HTTPS_PROXY or NPM_CONFIG_REGISTRY",
    ),
    _row(
        r"NewConnectionError|NameResolutionError|Temporary failure in name resolution|Connection refused"
        r"|Network is unreachable|Connection reset|ReadTimeoutError|Read timed out|ConnectTimeout|ProxyError"
        r"|ProtocolError|IncompleteRead",
        "the package index cannot be reached",
        "connect this machine, or set HTTPS_PROXY or PIP_INDEX_URL; what is finished is not done again",
    ),
    _row(
        r"No matching distribution found|Could not find a version that satisfies",
        "the package index has no file for this Python and platform that is pinned in locks/",
        "use Python 3.11 on Linux x86-64 (HOTSEAT_PYTHON=/path/to/python3.11), or an index that is complete",
    ),
    _row(
        r"Read-only file system|Permission denied|Errno 13|npm (error|ERR!) code E(ACCES|PERM|ROFS)",
        "a directory cannot be written to",
        "own this clone, and set HOTSEAT_HOME to a directory that you may write to",
    ),
    _row(
        r"nvcc fatal|Unsupported gpu architecture",
        "this CUDA toolkit cannot build for the GPU here",
        "install a newer toolkit (an RTX 5090 needs CUDA 12.8), or set HOTSEAT_CUDA_ARCH",
    ),
    _row(
        r"CUDA toolkit not found|Could not find nvcc|CMAKE_CUDA_COMPILER",
        "the CUDA compiler does not work",
        "install the CUDA toolkit and set CUDACXX to its nvcc, or set HOTSEAT_CUDA=0 for the CPU engine",
    ),
    _row(
        r"No CMAKE_CXX_COMPILER could be found|No CMAKE_C_COMPILER could be found"
        r"|is not able to compile a simple test program",
        "the C++ compiler does not work",
        "install one (Debian, Ubuntu: apt install build-essential; Fedora: dnf install gcc-c++)",
    ),
    _row(
        r"cannot allocate memory|virtual memory exhausted|Killed signal|terminated signal|out of memory",
        "memory ran out while compiling",
        "close other programs, or set CMAKE_BUILD_PARALLEL_LEVEL=1",
    ),
)


def explain(failure: CommandFailed, doing: str) -> SetupError:
    """What the user reads when `doing` failed."""
    text = "\n".join(failure.tail)
    for signature in SIGNATURES:
        if signature.pattern.search(text):
            return SetupError(
                f"{doing} failed: {signature.cause}\n"
                f"  remedy: {signature.remedy}\n  full output: {failure.log}"
            )
    shown = "\n".join(f"    {line}" for line in failure.tail[-_SHOWN_LINES:])
    return SetupError(
        f"{doing} failed: {failure.command} ended with status {failure.returncode}, its last words:\n"
        f"{shown}\n  full output: {failure.log}"
    )
