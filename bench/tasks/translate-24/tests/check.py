"""check.py TESTS APP VERIFIER: the share of pages whose translation keeps every rule and is German.

code          code, inline code and comments, byte by byte
links         where links and pictures lead to
placeholders  as many of each as there were
labels        what is bold is what the glossary says, as often as it was there
form          the same blocks in the same order, and the page's head
german        hardly an English word and enough German ones, about as much text, and nothing left as it was
"""

import json
import os
import sys
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
import start
from page import page

# Words without which there is no text, and that the other language does not have.
ENGLISH = frozenset(
    "the and of is to that it with for you are be this when if not which your there from by as has have who"
    " what or must only how than they nobody because before after then".split()
)
GERMAN = frozenset(
    "der die das und ist nicht sie ein eine einen einem zu mit wenn den dem wird sich auf für von es wie im"
    " bei nach zum zur oder kann werden sind des dass wer noch aus nur bis".split()
)
MOST_ENGLISH = 0.04  # the pages themselves have 0.3
LEAST_GERMAN = 0.12  # German has about 0.3
LENGTHS = (0.6, 2.0)  # words for each English one
RULES = ("code", "links", "placeholders", "labels", "form", "german")
MAX_PAGE_BYTES = 16 * 1024  # the longest page has 3,000


def kept(english, german):
    """Which rules hold."""
    labels = Counter({start.GLOSSARY[name]: count for name, count in english.labels.items()})
    return {
        "code": (english.code, english.inline, english.comments)
        == (german.code, german.inline, german.comments),
        "links": english.targets == german.targets,
        "placeholders": english.placeholders == german.placeholders,
        "labels": labels == german.labels,
        "form": english.form == german.form and is_head_kept(english.head, german.head),
        "german": is_german(english, german),
    }


def is_head_kept(english, german):
    title = german.get("title", "")
    return german == english | {"title": title} and title not in ("", english["title"])


def is_german(english, german):
    words = german.words
    if not LENGTHS[0] <= len(words) / len(english.words) <= LENGTHS[1]:
        return False
    in_english = sum(word in ENGLISH for word in words) / len(words)
    in_german = sum(word in GERMAN for word in words) / len(words)
    same = {unit for unit in english.units if len(unit) > 1} & set(german.units)
    return in_english <= MOST_ENGLISH and in_german >= LEAST_GERMAN and not same


def read(path):
    """None: there is no such page, or none that can be read."""
    if path.is_symlink() or not path.is_file() or path.stat().st_size > MAX_PAGE_BYTES:
        return None
    try:
        return page(path.read_bytes().decode())
    except UnicodeDecodeError:
        return None


def main():
    app, verifier = (Path(argument) for argument in sys.argv[2:4])
    seed, n = int(os.environ.get("HOTSEAT_SEED", "1")), int(os.environ.get("HOTSEAT_N", "24"))
    pages = {Path(name).name: text for name, text in start.files(seed, n).items() if name.startswith("en/")}
    count, right = Counter(), 0
    for name, text in pages.items():
        german = read(app / "de" / name)
        rules = kept(page(text), german) if german else dict.fromkeys(RULES, False)
        count.update(rule for rule, holds in rules.items() if holds)
        right += all(rules.values())
        broken = ", ".join(rule for rule, holds in rules.items() if not holds)
        print(f"{name}: {'not there' if german is None else broken or 'right'}")
    scores = {rule: round(count[rule] / n, 6) for rule in RULES}
    (verifier / "reward.json").write_text(json.dumps({"reward": round(right / n, 6), **scores}))


main()
