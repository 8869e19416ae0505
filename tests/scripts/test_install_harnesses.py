"""The harness CLIs: pinned, installed once, started once, and a machine without npm is told so."""

from __future__ import annotations

import json
import re
import shutil
from io import StringIO
from pathlib import Path

import pytest

from bootstrap.failures import SetupError
from bootstrap.harnesses import PACKAGES, install_harnesses, install_harnesses_if_possible
from bootstrap.places import find_places
from bootstrap.progress import Progress
from bootstrap.tools import Tools

PINS = Path(__file__).parents[2] / "locks" / "harnesses"
VERSIONS = json.loads((PINS / "package.json").read_text())["dependencies"]

# npm that installs programs which say their versions, and counts how often it was asked.
NPM = """#!/bin/sh
echo "$@" >> "{log}"
while [ "$1" != --prefix ]; do shift; done
bin="$2/node_modules/.bin"; mkdir -p "$bin"
{programs}
"""
PROGRAM = 'printf \'#!/bin/sh\\necho "{says}"\\n\' > "$bin/{name}"; chmod +x "$bin/{name}"'


class Machine:
    """A clone in `tmp_path`, and a PATH on which only a scripted npm and node are to be found."""

    def __init__(self, tmp_path: Path, said: dict[str, str] | None = None) -> None:
        root = tmp_path / "clone"
        shutil.copytree(PINS, root / "locks" / "harnesses")
        self.log = tmp_path / "asked"
        self.out = StringIO()
        self.bin = tmp_path / "bin"
        self.bin.mkdir()
        if said is not None:
            programs = "\n".join(PROGRAM.format(name=name, says=says) for name, says in said.items())
            self.program("npm", NPM.format(log=self.log, programs=programs))
            self.program("node", f'#!/bin/sh\necho "node $@" >> "{self.log}"\n')
        path = f"{self.bin}:/bin:/usr/bin" if said is not None else str(self.bin)
        environ = {"PATH": path, "HOTSEAT_HOME": str(tmp_path / "home")}
        self.tools = Tools(find_places(root, environ), environ, Progress(self.out))

    def program(self, name: str, text: str) -> None:
        (self.bin / name).write_text(text)
        (self.bin / name).chmod(0o755)

    def asked(self) -> list[str]:
        return self.log.read_text().splitlines() if self.log.exists() else []


AS_PINNED = {package.program: f"{package.program} {VERSIONS[package.name]}" for package in PACKAGES}


def test_the_lock_pins_what_the_manifest_names_and_tells_no_address() -> None:
    lock = (PINS / "package-lock.json").read_text()
    assert "://" not in lock
    assert '"resolved"' not in lock
    locked = json.loads(lock)["packages"]
    assert locked[""]["dependencies"] == VERSIONS
    for package in PACKAGES:
        assert re.fullmatch(r"\d+\.\d+\.\d+", VERSIONS[package.name])
        assert locked[f"node_modules/{package.name}"]["version"] == VERSIONS[package.name]
        assert locked[f"node_modules/{package.name}"]["integrity"].startswith("sha512-")


def test_installed_once_and_again_when_the_pins_change(tmp_path: Path) -> None:
    machine = Machine(tmp_path, AS_PINNED)
    install_harnesses(machine.tools)
    first = machine.asked()
    assert "--ignore-scripts" in first[0]
    assert [Path(line.split()[-1]).name for line in first[1:]] == ["postinstall.mjs", "install.cjs"]
    install_harnesses(machine.tools)
    assert machine.asked() == first
    lock = machine.tools.places.locks / "harnesses" / "package-lock.json"
    lock.write_text(lock.read_text() + "\n")
    install_harnesses(machine.tools)
    assert len(machine.asked()) == 2 * len(first)


def test_an_installation_that_was_broken_off_is_none(tmp_path: Path) -> None:
    machine = Machine(tmp_path, AS_PINNED)
    install_harnesses(machine.tools)
    lock = machine.tools.places.locks / "harnesses" / "package-lock.json"
    pinned, npm = lock.read_text(), (machine.bin / "npm").read_text()
    lock.write_text(pinned + "\n")
    machine.program("npm", "#!/bin/sh\nexit 1\n")
    with pytest.raises(SetupError):
        install_harnesses(machine.tools)
    lock.write_text(pinned)
    machine.program("npm", npm)
    asked = machine.asked()
    install_harnesses(machine.tools)
    assert len(machine.asked()) > len(asked)


def test_a_program_that_is_not_the_pinned_one_is_refused_and_not_remembered(tmp_path: Path) -> None:
    machine = Machine(tmp_path, AS_PINNED | {"claude": "2.1.197 (Claude Code)"})
    for _ in range(2):
        with pytest.raises(SetupError, match=r"claude .* should be 2\.1\.330.*2\.1\.197(.|\n)*remedy:"):
            install_harnesses(machine.tools)
    assert len([line for line in machine.asked() if line.startswith("install")]) == 2


def test_a_stub_that_does_not_start_is_refused(tmp_path: Path) -> None:
    machine = Machine(tmp_path, AS_PINNED)
    npm = machine.bin / "npm"
    npm.write_text(npm.read_text() + '\nprintf "#!/bin/sh\\nexit 1\\n" > "$bin/opencode"\n')
    with pytest.raises(SetupError, match=r"opencode was installed and does not work(.|\n)*remedy:"):
        install_harnesses(machine.tools)


def test_without_npm_the_installer_fails_and_a_test_run_goes_on(tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    with pytest.raises(SetupError, match=r"npm is missing\n  remedy: install Node"):
        install_harnesses(machine.tools)
    install_harnesses_if_possible(machine.tools)
    assert "skipped, there is no npm" in machine.out.getvalue()


def test_a_registry_that_cannot_be_reached_is_named(tmp_path: Path) -> None:
    machine = Machine(tmp_path, AS_PINNED)
    machine.program("npm", "#!/bin/sh\necho npm error code ENOTFOUND >&2; exit 1\n")
    with pytest.raises(SetupError, match=r"installing the harnesses failed: the npm registry cannot be"):
        install_harnesses_if_possible(machine.tools)
