"""Twelve functions."""

import re
from collections import Counter, OrderedDict
from itertools import groupby


def run_lengths(text):
    return [(character, len(list(run))) for character, run in groupby(text)]


def roman(numeral):
    form = r"(M{0,3})(CM|CD|D?C{0,3})(XC|XL|L?X{0,3})(IX|IV|V?I{0,3})"
    if not numeral or re.fullmatch(form, numeral) is None:
        raise ValueError(numeral)
    values = [{"I": 1, "V": 5, "X": 10, "L": 50, "C": 100, "D": 500, "M": 1000}[c] for c in numeral]
    return sum(-v if any(w > v for w in values[i + 1 : i + 2]) else v for i, v in enumerate(values))


def unbalanced_at(text):
    pairs = {")": "(", "]": "[", "}": "{"}
    opened = []
    for index, character in enumerate(text):
        if character in "([{":
            opened.append((character, index))
        elif character in pairs:
            if not opened or opened.pop()[0] != pairs[character]:
                return index
    return opened[-1][1] if opened else None


def merged(intervals):
    result = []
    for start, end in sorted(intervals):
        if start > end:
            raise ValueError((start, end))
        if start == end:
            continue
        if result and start < result[-1][1]:
            result[-1] = (result[-1][0], max(result[-1][1], end))
        else:
            result.append((start, end))
    return result


def frequent(text, count):
    runs = re.findall(r"(?:[^\W\d_]|')+", text.lower())
    words = Counter(word for run in runs if (word := run.strip("'")))
    return sorted(words.items(), key=lambda item: -item[1])[:count]


def anagrams(words):
    groups = {}
    for word in words:
        group = groups.setdefault("".join(sorted(word.lower())), [])
        if word not in group:
            group.append(word)
    return [group for group in groups.values() if len(group) > 1]


def seconds(duration):
    form = r"\s*(?:([0-9]+)d\s*)?(?:([0-9]+)h\s*)?(?:([0-9]+)m\s*)?(?:([0-9]+)s\s*)?"
    found = re.fullmatch(form, duration)
    if found is None or not any(found.groups()):
        raise ValueError(duration)
    return sum(int(part or 0) * unit for part, unit in zip(found.groups(), (86400, 3600, 60, 1)))


def spiral(rows):
    rows = [list(row) for row in rows]
    result = []
    while rows and rows[0]:
        result += rows.pop(0)
        rows = [list(row) for row in zip(*rows)][::-1]
    return result


def newest(versions):
    def key(version):
        release, _, pre = version.partition("-")
        numbers = [int(part) for part in release.split(".")]
        while numbers and numbers[-1] == 0:
            numbers.pop()
        parts = [(0, int(p), "") if p.isdigit() else (1, 0, p) for p in pre.split(".")]
        return (numbers, 0, pre)

    return max(versions, key=key) if versions else None


def wrapped(text, width):
    lines = []
    line = ""
    for word in text.split():
        if line and len(line) + 1 + len(word) <= width:
            line += " " + word
            continue
        if line:
            lines.append(line)
        while len(word) > width:
            lines.append(word[:width])
            word = word[width:]
        line = word
    return lines + [line] if line else lines


class Recent:
    def __init__(self, size):
        if size < 1:
            raise ValueError(size)
        self._size = size
        self._values = OrderedDict()

    def get(self, key):
        if key not in self._values:
            return None
        self._values.move_to_end(key)
        return self._values[key]

    def put(self, key, value):
        self._values[key] = value
        self._values.move_to_end(key)
        if len(self._values) > self._size:
            self._values.popitem(last=False)

    def keys(self):
        return list(self._values)[::-1]


def calculated(expression):
    tokens = re.findall(r"[0-9]+|\S", expression)
    position = 0

    def peek():
        return tokens[position] if position < len(tokens) else None

    def take():
        nonlocal position
        position += 1
        return tokens[position - 1] if position <= len(tokens) else None

    def factor():
        token = take()
        if token == "-":
            return -factor()
        if token == "(":
            value = total()
            if take() != ")":
                raise ValueError(expression)
            return value
        if token is None or not (token.isascii() and token.isdigit()):
            raise ValueError(expression)
        return int(token)

    def product():
        value = factor()
        while peek() in ("*", "/"):
            if take() == "*":
                value *= factor()
            else:
                divisor = factor()
                if divisor == 0:
                    raise ValueError("division by zero")
                value //= divisor
        return value

    def total():
        value = product()
        while peek() in ("+", "-"):
            value = value + product() if take() == "+" else value - product()
        return value

    try:
        value = total()
    except RecursionError as error:
        raise ValueError(expression) from error
    if peek() is not None:
        raise ValueError(expression)
    return value
