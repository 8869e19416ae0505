"""`hotseat doctor`: each trouble is found, none is invented, no key is shown."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from proxy.cli import main
from proxy.doctor import EngineProbe, check_engine
from proxy.listener import listen
from tests.bench.fake_harnesses import fake_harnesses
from tests.proxy.served import CANARY, CONFIG, Serving, serving, write_config


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    with serving(tmp_path_factory.mktemp("serve"), "--budget", "1MB") as started:
        yield started


def doctor(folder: Path, text: str, **environ: str) -> tuple[int, dict[str, list[dict[str, Any]]]]:
    config = write_config(folder, text)
    harnesses = folder / "harnesses"
    if not harnesses.exists():
        fake_harnesses(harnesses, claude="echo 2.1.197", codex="exit 1")
    environ = {
        "HOTSEAT_HOME": str(folder / "home"),
        "HOTSEAT_API_KEY": "",
        "HOTSEAT_HARNESSES": str(harnesses),
        "HOME": str(folder),
        **environ,
    }
    result = CliRunner().invoke(main, ["doctor", "--json", "--config", str(config)], env=environ)
    assert CANARY not in result.output
    findings: dict[str, list[dict[str, Any]]] = {}
    for finding in json.loads(result.stdout):
        findings.setdefault(finding["area"], []).append(finding)
    return result.exit_code, findings


def test_doctor_finds_each_trouble(tmp_path: Path) -> None:
    with contextlib.closing(listen("127.0.0.1", 0)) as taken:
        text = f"[server]\nport = {taken.getsockname()[1]}\n{CONFIG}"
        code, findings = doctor(tmp_path, text, FAR_KEY=f"{CANARY}-far", HOTSEAT_API_KEY=CANARY)
    assert code == 1
    models = {finding["text"].split(":")[0]: finding["status"] for finding in findings["model"]}
    assert models["quick"] == "ok"
    assert models["model 'absent'"] == "note"
    assert models["hostile"] == "fail"
    assert findings["port"][0]["status"] == "fail"
    assert f"(pid {os.getpid()})" in findings["port"][0]["text"]
    assert "provider far: key set in FAR_KEY" in [finding["text"] for finding in findings["keys"]]
    assert findings["device"][0]["status"] == "ok"


def test_doctor_is_content(tmp_path: Path) -> None:
    text = '[server]\nport = 0\n[models.quick]\npath = "quick.toml"\nengine = "scripted"'
    code, findings = doctor(tmp_path, text)
    failures = [
        f
        for found in findings.values()
        for f in found
        if f["status"] == "fail" and f["area"] not in ("engine", "cli")
    ]
    assert failures == []
    assert code == 1  # of the harness that does not start


def test_doctor_knows_the_harnesses(tmp_path: Path) -> None:
    _, findings = doctor(tmp_path, CONFIG)
    opencode, codex, claude = findings["cli"]
    assert opencode["status"] == "ok"
    assert (codex["status"], codex["remedy"]) == ("fail", "run scripts/install-harnesses")
    assert claude["status"] == "note"
    assert "npm chooses it on Node 20 by itself" in claude["text"]


def test_doctor_knows_a_hotseat_at_the_port(tmp_path: Path, server: Serving) -> None:
    port = server.url.rpartition(":")[2]
    _, findings = doctor(tmp_path, f"[server]\nport = {port}")
    assert findings["port"][0]["status"] == "note"
    assert "a Hotseat is serving there" in findings["port"][0]["text"]


def test_doctor_reports_a_wrong_configuration(tmp_path: Path) -> None:
    code, findings = doctor(tmp_path, "[severs]")
    assert code == 1
    assert "did you mean 'server'" in findings["config"][0]["text"]


def test_doctor_warns_of_a_bind_without_key(tmp_path: Path) -> None:
    code, findings = doctor(tmp_path, '[server]\nhost = "0.0.0.0"\nport = 0')
    assert code == 1
    assert "fail" in [finding["status"] for finding in findings["keys"]]


def test_doctor_prints_for_people(tmp_path: Path) -> None:
    config = write_config(tmp_path)
    result = CliRunner().invoke(
        main,
        ["doctor", "--config", str(config)],
        env={
            "HOTSEAT_HOME": str(tmp_path),
            "HOTSEAT_HARNESSES": str(fake_harnesses(tmp_path / "harnesses")),
        },
    )
    assert result.exit_code == 1
    assert any(line.startswith("fail  model   hostile: ") for line in result.stdout.splitlines())


def test_doctor_on_engines() -> None:
    (good,) = check_engine(EngineProbe("0.3.36", "CPU : AVX2 = 1 | FMA = 0 |", gpu=False))
    assert (good.status, good.text) == ("ok", "llama-cpp-python 0.3.36, CPU build: AVX2")
    _, amx = check_engine(EngineProbe("0.3.36", "CPU : AVX2 = 1 | AMX_INT8 = 1 |", gpu=True))
    assert amx.status == "note"
    assert "GGML_NATIVE=OFF" in amx.remedy
    (absent,) = check_engine(EngineProbe(error="No module named 'llama_cpp'"))
    assert absent.status == "fail"
    assert "scripts/serve" in absent.remedy
