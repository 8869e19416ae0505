"""A page of Markdown taken apart: its form, what may not change, and the words that are left."""

import re
from collections import Counter
from dataclasses import dataclass

FENCE = re.compile(r"\s*```")
COMMENT = re.compile(r"<!--.*?-->", re.DOTALL)
INLINE = re.compile(r"(?<!`)(`+)(?!`)(.+?)(?<!`)\1(?!`)", re.DOTALL)
TARGET = re.compile(r"\]\(((?:[^()\s]|\([^()\s]*\))*)\)")
PLACEHOLDER = re.compile(
    r"\{\{ ?\w+ ?\}\}|\$\{\w+\}|\{[\w.]+(?::[^{}]*)?\}|%\(\w+\)s|%s|<<\w+>>"  # the longer ones first
)
LABEL = re.compile(r"\*\*(.+?)\*\*", re.DOTALL)
LINK_TEXT = re.compile(r"\[([^\[\]]*)\]")
WORD = re.compile(r"[^\W\d_]+")
KINDS = (
    ("heading", re.compile(r"(#{1,6}) ")),
    ("table", re.compile(r"\|")),
    ("list", re.compile(r"[-*+] ")),
    ("numbered", re.compile(r"\d+[.)] ")),
    ("comment", re.compile(r"<!--")),
    ("picture", re.compile(r"!\[[^\[\]]*\]\([^ ]*\)$")),
)


@dataclass(frozen=True)
class Page:
    """`head`: by key. `form`: kinds of blocks, with what counts of them. `units`: the words of each heading,
    paragraph, item, cell and link. Counters have bytes as they stand in the page."""

    head: dict
    form: list
    code: list
    inline: Counter
    comments: Counter
    targets: Counter
    placeholders: Counter
    labels: Counter
    units: list

    @property
    def words(self):
        return [word for unit in self.units for word in unit]


def page(text):
    head, body = _head(text)
    blocks = list(_blocks(body))
    code = [lines for kind, lines in blocks if kind == "code"]
    rest = "\n\n".join("\n".join(lines) for kind, lines in blocks if kind != "code")
    comments, rest = _taken(COMMENT, rest, 0)
    inline, rest = _taken(INLINE, rest, 2)
    targets, rest = _taken(TARGET, rest, 1, "]")
    placeholders, rest = _taken(PLACEHOLDER, rest, 0)
    labels, rest = _taken(LABEL, rest, 1)
    return Page(head, _form(blocks), code, inline, comments, targets, placeholders, labels, _units(rest))


def _head(text):
    """Lines between two lines of ---, by key."""
    lines = text.split("\n")
    if lines[0] != "---" or "---" not in lines[1:]:
        return {}, text
    end = lines.index("---", 1)
    pairs = [line.partition(":") for line in lines[1:end]]
    return {key: value.strip() for key, _, value in pairs}, "\n".join(lines[end + 1 :])


def _blocks(text):
    """Pairs (kind, lines). A heading is a block by itself; so is what stands between two fences."""
    kind, lines = "", []
    for line in text.split("\n"):
        if kind == "code":
            lines.append(line)
            if FENCE.match(line):
                yield kind, lines
                kind, lines = "", []
            continue
        found = _kind(line)
        goes_on = found == kind or (found == "text" and kind in ("list", "numbered"))
        if not goes_on or found == "heading":
            if lines:
                yield kind, lines
            kind, lines = found, []
        if found:
            lines.append(line)
    if lines:
        yield kind, lines


def _kind(line):
    if not line.strip():
        return ""
    if FENCE.match(line):
        return "code"
    return next((name for name, begins in KINDS if begins.match(line.strip())), "text")


def _form(blocks):
    form = []
    for kind, lines in blocks:
        if kind == "heading":
            form.append((kind, len(lines[0].strip().split(" ")[0])))
        elif kind == "table":
            form.append((kind, [line.strip().strip("|").count("|") for line in lines]))
        elif kind in ("list", "numbered"):
            items = sum(_kind(line) == kind for line in lines)
            if form and form[-1][0] == kind:  # items with blank lines between them are one list
                items += form.pop()[1]
            form.append((kind, items))
        else:
            form.append((kind, 1))
    return form


def _taken(pattern, text, group, left=" "):
    found = Counter(match[group] for match in pattern.finditer(text))
    return found, pattern.sub(left, text)


def _units(text):
    """A paragraph may be broken into other lines: its lines are one unit."""
    links = LINK_TEXT.findall(text)
    pieces = []
    for block in re.split(r"\n\s*\n", text):
        lines = block.split("\n")
        kinds = {_kind(line) for line in lines}
        pieces += [block] if kinds <= {"text", ""} else [cell for line in lines for cell in line.split("|")]
    units = [tuple(word.lower() for word in WORD.findall(piece)) for piece in (*pieces, *links)]
    return [unit for unit in units if unit]
