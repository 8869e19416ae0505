"""Fault 37: a disk that is full, or takes nothing. Requests are served; what could not be written is said
once, not at every request, and the ledger's rows come later. Snapshots of the KV cache on such a disk:
inference/test_kv_store.py (test_a_disk_that_fills_up_costs_the_snapshot_only,
test_a_folder_that_cannot_be_made_is_reported_once); records of memory: test_memory_keeper.py
(test_a_disk_that_takes_nothing_costs_a_warning). Fault 38, snapshots that are corrupt or of another
configuration: inference/test_llama_cache.py (test_another_configuration_ignores_the_snapshot,
test_a_corrupted_snapshot_is_computed_again, test_another_models_snapshot_is_not_even_seen).
"""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil

from tests.proxy.served import Serving, question, serving_config, write_config

N_REQUESTS = 20
PATIENCE_S = 30.0
MODEL = '[models.quick]\npath = "quick.toml"\nengine = "scripted"\n'


def ask(served: Serving, run: str = "one") -> None:
    body = json.dumps(question("quick", "colour") | {"stream": False}).encode()
    request = urllib.request.Request(
        f"{served.url}/r/{run}/v1/chat/completions", body, {"content-type": "application/json"}
    )
    with urllib.request.urlopen(request) as response:
        assert json.load(response)["choices"][0]["finish_reason"] == "stop"


def get(served: Serving, path: str) -> Any:
    with urllib.request.urlopen(served.url + path) as response:
        return json.load(response)


def warnings_in(log: str) -> list[str]:
    return [line for line in log.splitlines() if "WARNING" in line or "ERROR" in line]


def test_fault_37_a_ledger_that_cannot_be(tmp_path: Path) -> None:
    config = write_config(tmp_path, MODEL + '[ledger]\npath = "/dev/full/ledger.sqlite3"\n')
    with serving_config(tmp_path, config) as served:
        for _ in range(N_REQUESTS):
            ask(served)
        assert len(get(served, "/api/requests?run=one")["requests"]) == N_REQUESTS, "from memory"
        code, stderr = served.stop()
    assert code == 0
    said = [line for line in warnings_in(stderr) if "ledger" in line]
    assert 1 <= len(said) <= 4, "said, and not at each request"


def test_fault_37_a_disk_that_fills_up_and_has_room_again(tmp_path: Path) -> None:
    """A limit on the size of files stands for the end of the disk."""
    config = write_config(tmp_path, MODEL)
    with serving_config(tmp_path, config) as served:
        ask(served)
        assert get(served, "/api/runs/one")["totals"]["requests"] == 1
        limit_files(served, 1)
        for _ in range(N_REQUESTS):
            ask(served)
        wait_until(lambda: bool(get(served, "/api/state")["ledger"]["error"]))
        limit_files(served, None)
        ask(served)
        wait_until(lambda: n_in_ledger(served) == N_REQUESTS + 2)
        _, stderr = served.stop()
    takes_none = [line for line in warnings_in(stderr) if "takes no rows" in line]
    assert len(takes_none) == 1
    assert "takes rows again" in stderr


def limit_files(served: Serving, n_bytes: int | None) -> None:
    """Of the server and of the process that writes its ledger. None: no limit any more."""
    for process in (psutil.Process(served.process.pid), *served.children()):
        hard = process.rlimit(psutil.RLIMIT_FSIZE)[1]
        process.rlimit(psutil.RLIMIT_FSIZE, (hard if n_bytes is None else n_bytes, hard))


def wait_until(is_so: Callable[[], bool]) -> None:
    due_s = time.monotonic() + PATIENCE_S
    while not is_so():
        assert time.monotonic() < due_s


def n_in_ledger(served: Serving) -> int:
    """Asked again while the ledger says that it cannot be asked."""
    try:
        totals: int = get(served, "/api/runs/one")["totals"]["requests"]
    except urllib.error.HTTPError as error:
        with error:
            assert error.code == 503
        return 0
    return totals


def test_fault_37_a_log_that_takes_nothing(tmp_path: Path) -> None:
    config = write_config(tmp_path, MODEL)
    with serving_config(tmp_path, config, "--verbose", log="/dev/full") as served:
        for _ in range(N_REQUESTS):
            ask(served)
        assert get(served, "/health")
        code, _ = served.stop()
    assert code == 0
