"""What code takes to be there: found where it is not, and nothing said where nobody can know."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator

import pytest

from bench.api_check import read
from bench.api_description import Api, described

PACKAGE = """
from __future__ import annotations
from collections.abc import Iterator
from dataclasses import dataclass

LIMIT = 5

class Busy(Exception):
    def __init__(self, wait: int) -> None:
        self.wait = wait

@dataclass
class Row:
    level: int

class Page:
    rows: list[Row]
    @property
    def mark(self) -> str | None: ...
    def __iter__(self) -> Iterator[Row]: ...

class Client:
    def __enter__(self) -> Client: ...
    def __exit__(self, *raised: object) -> None: ...
    def fetch(self, *, since: int, mark: str | None = None) -> Page: ...
    def send(self, text: str, /, *rest: str) -> str: ...
    @classmethod
    def of(cls, name: str) -> Client: ...

class Loose:
    def __getattr__(self, name: str) -> object: ...

def connect(name: str, /, *, mode: str) -> Client: ...
"""


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    path = tmp_path_factory.mktemp("package") / "tide.py"
    path.write_text(PACKAGE)
    spec = importlib.util.spec_from_file_location("tide", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["tide"] = module  # dataclasses look there
    spec.loader.exec_module(module)
    yield described(module)
    del sys.modules["tide"]


def found(source: str, api: Api, modules: dict[str, str] | None = None) -> list[str]:
    read_before = {name: read(text, f"{name}.py", api) for name, text in (modules or {}).items()}
    return [finding.text for finding in read(source, "x.py", api, read_before).findings]


@pytest.mark.parametrize(
    "source",
    [
        "import tide\ntide.connect('a', mode='r').fetch(since=1).rows[0].level",
        "import tide as t\nwith t.connect('a', mode='r') as c:\n  for r in c.fetch(since=1):\n    r.level",
        "from tide import connect\nasync def f():\n  c = connect('a', mode='r')\n  c.send('a', 'b', *rest)",
        "import tide\ntry:\n  pass\nexcept tide.Busy as busy:\n  busy.wait + busy.args[0]",
        "import tide\ntide.connect('a', **options).fetch(**more)",
        "import tide\ntide.Client.fetch(anything, at, all)",
        "import tide\ntide.Client.of('a').fetch(since=1)",
        "import tide\n[row.level for row in tide.connect('a', mode='r').fetch(since=1).rows]",
        "import tide\ntide.Loose().whatever(1, 2)",
        "import tide\nc = tide.connect('a', mode='r')\nc = other()\nc.whatever()",
        "import other\nother.connect().nothing",
        "def f(c):\n  return c.nothing",
        "import tide\nimport tide as t\nt.LIMIT.bit_length()",
        "from tide import *\nconnect('a', mode='r').send('x')",
    ],
)
def test_code_that_is_right_or_that_nobody_can_know(api: Api, source: str) -> None:
    assert found(source, api) == []


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("import tide\ntide.open('a')", "tide has no 'open'"),
        ("from tide import Session", "tide has no 'Session'"),
        ("import tide.client", "no module tide.client"),
        ("from tide.client import Client", "no module tide.client"),
        ("import tide\ntide.connect('a')", "missing a required argument: 'mode'"),
        ("import tide\ntide.connect(name='a', mode='r')", "'name'"),
        ("import tide\ntide.connect('a', **options, speed=3)", "unexpected keyword argument 'speed'"),
        ("import tide\ntide.connect('a', mode='r').query()", "Client has no 'query'"),
        (
            "import tide\nwith tide.connect('a', mode='r') as c:\n  c.fetch(1)",
            "too many positional arguments",
        ),
        (
            "import tide\nfor row in tide.connect('a', mode='r').fetch(since=1):\n  row.height",
            "Row has no 'height'",
        ),
        ("import tide\ntide.connect('a', mode='r').fetch(since=1).rows[0].text", "Row has no 'text'"),
        ("import tide\ntry:\n  pass\nexcept tide.Busy as b:\n  b.seconds", "Busy has no 'seconds'"),
        ("import tide\ntry:\n  pass\nexcept tide.Timeout:\n  pass", "tide has no 'Timeout'"),
        ("import tide\ndef f(c: tide.Client):\n  c.close()", "Client has no 'close'"),
        ("import tide\ndef f():\n  return tide.connect('a', mode='r')\nf().close()", "Client has no 'close'"),
        (
            "import tide\nclass A:\n  def f(self):\n    self.c = tide.Client()\n    self.c.close()",
            "Client has no 'close'",
        ),
        ("import tide\ntide.Client.query", "Client has no 'query'"),
        ("import tide\n(lambda: tide.connect('a', mode='r').x)()", "Client has no 'x'"),
    ],
)
def test_code_that_takes_what_is_not_there(api: Api, source: str, said: str) -> None:
    texts = found(source, api)
    assert len(texts) == 1
    assert said in texts[0]


REPORT = "import tide\ndef summary(gauge):\n  return tide.connect(gauge, mode='r')\n"
MOCKS = "import tide\nimport report\nfrom unittest import mock\n"


@pytest.mark.parametrize(
    ("test", "said"),
    [
        ("mock.patch('tide.connect')", ""),
        ("mock.patch('report.tide.connect')", ""),
        ("mock.patch('report.summary')", ""),
        ("mock.patch('time.sleep')", ""),
        ("mock.patch.object(tide.Client, 'fetch')", ""),
        (
            "c = mock.MagicMock()\nc.fetch.return_value.rows = []\nc.fetch.assert_called_once_with(since=1)",
            "",
        ),
        (
            "c = mock.create_autospec(tide.Client, instance=True)\nc.fetch.side_effect = [1]\nc.send.called",
            "",
        ),
        ("mock.Mock(rows=[], return_value=3)", ""),
        ("mock.patch('tide.open')", "tide has no 'open'"),
        ("mock.patch('report.tide.Client.query')", "Client has no 'query'"),
        ("mock.patch('report.connect')", "report has no 'connect'"),
        ("mock.patch.object(tide.Client, 'query')", "Client has no 'query'"),
        ("monkeypatch.setattr(tide, 'open', None)", "tide has no 'open'"),
        ("monkeypatch.setattr('tide.open', None)", "tide has no 'open'"),
        ("c = mock.MagicMock()\nc.query.return_value = []", "a mock answers 'query'"),
        ("c = mock.MagicMock()\nc.fetch.return_value.records = []", "a mock answers 'records'"),
        ("with mock.patch('report.tide') as t:\n  t.open.return_value = 1", "a mock answers 'open'"),
        ("mock.Mock(records=[])", "a mock answers 'records'"),
        ("mock.MagicMock(spec=tide.Client).query", "Client has no 'query'"),
        ("c = mock.MagicMock()\nc.fetch.assert_called_with(1)", "fetch cannot be called so"),
        (
            "with mock.patch('tide.connect') as c:\n  c.assert_called_once_with('a')",
            "connect cannot be called so",
        ),
    ],
)
def test_mocks_stand_for_what_is_there(api: Api, test: str, said: str) -> None:
    texts = found(MOCKS + test, api, {"report": REPORT})
    assert len(texts) == bool(said)
    assert all(said in text for text in texts)


def test_uses_are_counted_and_places_named(api: Api) -> None:
    assert read("import json", "x.py", api).uses == 0
    reading = read("import tide\n\ntide.open()", "x.py", api)
    assert (reading.uses, str(reading.findings[0])) == (1, "x.py:3: tide has no 'open'")
