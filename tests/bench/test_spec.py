"""A specification is read as written, or refused by the line."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.errors import SpecError
from bench.spec import MAX_SPEC_BYTES, MAX_STAGES, Item, parse_spec

TWO = """\
# Payments

Amounts are cents.

## Stage: Parse the file

Read it.

```
## Stage: not one
### Acceptance
```

#### Hints
none

### Acceptance

- Bad rows are reported. check: `pytest -q tests/test_parse.py`
- [ ] The README says how,
  and why.
1. `a | b` is kept — check: ``echo `date` | grep 2``

### Notes
- no item of acceptance

## Words
cents: hundredths

## Stage 2: report ##
### acceptance criteria:
* check: `python3 report.py`
"""


def test_stages_items_and_what_is_common() -> None:
    spec = parse_spec(TWO.encode())
    assert spec.title == "Payments"
    assert spec.common == "# Payments\n\nAmounts are cents.\n\n## Words\ncents: hundredths"
    parse, report = spec.stages
    assert (parse.number, parse.name, parse.label) == (1, "Parse the file", "1-parse-the-file")
    assert parse.text.startswith("Read it.\n\n```\n## Stage: not one")
    assert parse.text.endswith("- no item of acceptance")
    assert parse.items == (
        Item("Bad rows are reported.", "pytest -q tests/test_parse.py"),
        Item("The README says how, and why.", None),
        Item("`a | b` is kept", "echo `date` | grep 2"),
    )
    assert [item.command for item in parse.checks] == [
        "pytest -q tests/test_parse.py",
        "echo `date` | grep 2",
    ]
    assert report.items == (Item("python3 report.py", "python3 report.py"),)
    assert report.label == "2-report"


def test_a_stage_is_found_by_number_or_name() -> None:
    spec = parse_spec(TWO.encode())
    for words in ("2", "report", "Report", "2-report"):
        assert spec.stage(words) is spec.stages[1]
    with pytest.raises(SpecError, match=r"'3'.*1 \(Parse the file\), 2 \(report\)"):
        spec.stage("3")


def test_a_digest_is_of_the_stage_alone() -> None:
    before = parse_spec(TWO.encode()).stages
    after = parse_spec(TWO.replace("Read it.", "Read it twice.").replace("cents:", "cent:").encode()).stages
    assert before[0].digest != after[0].digest
    assert before[1].digest == after[1].digest


STAGE = "## Stage: one\n### Acceptance\n"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("# Nothing\n", "no stages"),
        ("## Stage:\n", "line 1: a stage needs a name"),
        ("## Stage: ***\n", "line 1: a stage needs a name"),
        ("### Stage: one\n", 'line 1: a stage is a heading of two "#"'),
        ("## Stage 2: one\n### Acceptance\n- x\n", "line 1: stage 1 of the specification is headed stage 2"),
        ("## Stage: one\nprose\n", "line 1: a stage needs one list .* found none"),
        ("## Stage: one\n#### Acceptance\n- x\n", 'line 2: expected "### Acceptance"'),
        (f"{STAGE}- x\n### Acceptance\n- y\n", "found another in line 4"),
        (STAGE, "line 2: expected 1 to 100 items of acceptance, found 0"),
        (f"{STAGE}It works.\n- x\n", "line 3: expected an item of a list"),
        (f"{STAGE}- x\nmore\n", "line 4: expected an item of a list"),
        (f"{STAGE}- x. check: pytest\n", "line 3: expected a command in backticks"),
        (f"{STAGE}- x. check: ` `\n", "line 3: expected a command in backticks"),
        (f"{STAGE}- check: `a`\n  check: `b`\n", "line 3: an item with two checks"),
        (f"{STAGE}- check: `{'a' * 5000}`\n", "line 3: a check of 5000 characters"),
        (f"{STAGE}- x\n\n## Stage: ONE!\n### Acceptance\n- y\n", "line 5: two stages are called 'ONE!'"),
        ("a\n\0\n", "line 2: a NUL character"),
    ],
)
def test_what_is_wrong_is_named_by_its_line(text: str, said: str) -> None:
    with pytest.raises(SpecError, match=said) as raised:
        parse_spec(text.encode(), "SPEC.md")
    assert str(raised.value).startswith("SPEC.md")
    assert "\n" not in str(raised.value)


def test_bounds() -> None:
    stages = "".join(f"## Stage: s{n}\n### Acceptance\n- x\n" for n in range(MAX_STAGES))
    assert len(parse_spec(stages.encode()).stages) == MAX_STAGES
    with pytest.raises(SpecError, match=f"more than {MAX_STAGES} stages"):
        parse_spec((stages + "## Stage: last\n### Acceptance\n- x\n").encode())
    with pytest.raises(SpecError, match=f"more than {MAX_SPEC_BYTES}"):
        parse_spec(b" " * (MAX_SPEC_BYTES + 1))
    with pytest.raises(SpecError, match="not UTF-8"):
        parse_spec(b"\xff")


@given(st.lists(st.sampled_from([*TWO.splitlines(), "~~~", "", "  more", "- check: `x`", "\x1b[31m"])))
def test_any_lines_are_a_specification_or_a_spec_error(lines: list[str]) -> None:
    try:
        spec = parse_spec("\n".join(lines).encode())
    except SpecError:
        return
    assert len({stage.label for stage in spec.stages}) == len(spec.stages) >= 1
    assert all(stage.items for stage in spec.stages)
