"""start.py --seed N --out FOLDER --n N: pages of a manual, to be translated, each by itself.

A page is put together by chance from headings, sentences, lists, tables, code and comments, with labels,
placeholders, links and inline code in them. As environment/generate.py it makes the workspace; as
tests/start.py the same file says what was there.
"""

import argparse
import random
import re
from pathlib import Path

GLOSSARY = {
    "Pickup slot": "Abholzeit",
    "Shelf": "Fachboden",
    "Bin": "Fach",
    "Dashboard": "Dashboard",
    "Audit trail": "Prüfprotokoll",
    "Quiet hours": "Ruhezeit",
    "Handover": "Übergabe",
    "Sender": "Einlieferer",
    "Recall": "Rückholung",
    "Watchlist": "Merkliste",
    "Spare key": "Zweitschlüssel",
    "Check-in": "Check-in",
    "Overflow": "Ausweichlager",
    "Duty officer": "Dienst habende Person",
    "Seal": "Plombe",
    "Batch run": "Sammellauf",
}
TITLES = (
    "Before you begin", "The first delivery", "When a door stays shut", "Moving to another building",
    "Who may see what", "Messages to customers", "Every morning", "Every evening", "Returns and complaints",
    "Changing the opening times", "What happens at night", "Cleaning and repairs", "A new colleague",
    "When the power fails", "Lost parcels", "The yearly inspection", "Large and heavy parcels",
    "Working without a network", "Printing labels", "Keeping data short", "Asking for help",
    "Reading the reports", "Connecting a scale", "Preparing for holidays", "Two locations, one team",
    "Closing a location",
)  # fmt: skip
HEADINGS = (
    "What you need", "Step by step", "What can go wrong", "How it works", "Settings for this", "An example",
    "Who does what", "Questions that are often asked", "What to check afterwards", "Good to know",
)  # fmt: skip
# {T}: a label in bold. {C}: inline code. {P}: a placeholder. {L}: a link. {N}: a number.
SENTENCES = (
    "Open {T} before you start anything else.",
    "The value of {C} is read only once, when the program starts.",
    "If {T} stays grey, somebody else is still working on it.",
    "The message shows {P} where the name of the customer will be.",
    "You can read more about this in {L}.",
    "Never change {C} while {T} is open, because the change would be lost.",
    "After {N} minutes without an answer the request is given up.",
    "Most people never need {T}, and that is how it should be.",
    "The list under {T} shows what has arrived in the last {N} days.",
    "Write {P} letter by letter, exactly as it stands here.",
    "A parcel that nobody collects goes back after {N} days.",
    "When the door does not open, try it again with {C}.",
    "It does not matter whether {T} or {T} comes first.",
    "Everything that was written to {C} can be deleted after {N} weeks.",
    "Do not be surprised when {P} is empty: the customer has not told us a name.",
    "The rules for this are in {L}, and they are the same for everybody.",
    "With {C} you see at once which parcels are too heavy.",
    "Choose {T} and wait until the light is green.",
    "Nobody but you can see what is written under {T}.",
    "In the letter to the customer, {P} and {P} are filled in by the program.",
    "As long as {C} is set, no message is sent at night.",
    "This takes about {N} seconds, and you must not switch off the machine meanwhile.",
    "We have described the old way in {L}, but you should not use it any more.",
    "If there is a second door, the same is true for it.",
    "The program remembers under {T} who has done what, and when.",
    "Please ask in {L} if something is not clear.",
    "There is a short way: press the key twice and then choose {T}.",
    "What stands in {C} always wins over what was chosen under {T}.",
    "You find the number of the parcel on the label, below the address.",
    "Only {N} parcels fit into one row, even if they are small.",
    "Before the first delivery, put {P} into the template, or the letter stays without a date.",
    "Both doors are locked again by {C}, which runs every {N} minutes.",
)
ITEMS = (
    "the key and a pen", "a list of all parcels that are still there", "the value of {C}",
    "at least {N} free places", "a look at {T}", "the page {L}", "somebody who can help you",
    "the number that {P} stands for", "{T}, but not {T}", "a printer with enough paper",
)  # fmt: skip
COLUMNS = ("Setting", "Meaning")
MEANINGS = (
    "how long a parcel may stay", "who gets a message first", "whether the light is on at night",
    "how often the door is checked", "which language the letters have", "what is done with old lists",
)  # fmt: skip
LINK_TEXTS = (
    "the page about doors", "our rules", "the list of questions", "the chapter about the night",
    "the first steps", "the table of prices", "the old manual",
)  # fmt: skip
ALTS = ("The open door, seen from the side", "A label with its number", "The list on a small screen")
CODES = (
    "lockers open --door {n}  # wait for the click",
    "lockers list --older-than {n}d | sort  # the oldest first",
    'print("Your parcel is here")  # say it in the language of the customer\nopen_door({n})',
    '{{\n  "comment": "how long a door stays open",\n  "open_seconds": {n}\n}}',
    "[night]\nquiet = true  # no messages\nfrom = {n}",
    'if [ "$DOORS" -gt {n} ]; then\n  echo "too many open doors"\nfi',
)
LANGUAGES = ("sh", "sh", "python", "json", "toml", "sh")
INLINE = (
    "open_seconds", "--force", "lockers list", "night.quiet", "DOORS=4", "/etc/lockers.toml",
    "doors[0].state", "lockers open --door 7", "max_kg", "<none>", "true", "the_last_one.csv",
)  # fmt: skip
PLACEHOLDERS = (
    "{name}", "{parcel.number}", "%(door)s", "%s", "${SENDER}", "{{ address }}", "{date:%d.%m.}", "<<place>>",
)  # fmt: skip
TARGETS = (
    "doors.md", "../rules/index.md#weights", "https://example.org/manual?page=2&lang=en",
    "night.md#quiet-hours", "mailto:help@example.org", "/first-steps/", "prices.csv", "https://example.org/old/(v1)/start",
)  # fmt: skip
COMMENTS = ("keep: reviewed in spring", "anchor: start", "the picture is old", "lint-disable long-lines")

RULES = """# Rules for translations

What may not change, not by a single byte:

- code: everything between ``` lines, with its comments, and everything between backquotes;
- where links and pictures lead to: what stands in the round brackets. What stands in the square ones is
  translated;
- placeholders, such as {name}, %s, %(door)s, ${SENDER}, {{ address }}, {date:%d.%m.} and <<place>>: as many
  of each as there were, anywhere in their sentence;
- HTML comments, and the lines `id` and `updated` of a page's head. `title` is translated.

Labels of the program stand in bold. A label has the name that `GLOSSARY.md` gives it, in bold and without
inverted commas, as often as it was there. Nothing else becomes bold.

The form stays: the same headings of the same level, paragraphs, lists, tables, pictures and code, in the same
order.
"""


def glossary():
    rows = [f"| {english} | {german} |" for english, german in sorted(GLOSSARY.items())]
    return "\n".join(["# Labels of the program", "", "| English | German |", "|---|---|", *rows, ""])


def files(seed, n):
    """All of the workspace, by path."""
    chance = random.Random(f"translate {seed}")
    made = {"RULES.md": RULES, "GLOSSARY.md": glossary()}
    for number, title in enumerate(chance.sample(TITLES, n), 1):
        name = re.sub("[^a-z]+", "-", title.lower()).strip("-")
        made[f"en/{number:02d}-{name}.md"] = _page(number, title, chance)
    return made


def _page(number, title, chance):
    sentences = chance.sample(SENTENCES, 11)
    says = lambda how_many: " ".join(_filled(sentences.pop(), chance) for _ in range(how_many))  # noqa: E731
    first, second = chance.sample(HEADINGS, 2)
    parts = [f"# {title}", says(3), f"## {first}", says(2), _items(chance), says(1), f"## {second}", says(3)]
    odd = [_code(chance), _table(chance), _picture(chance), f"<!-- {chance.choice(COMMENTS)} -->"]
    for extra in chance.sample(odd, 3):
        parts.insert(chance.randint(2, len(parts)), extra)
    head = f"---\nid: page-{number:02d}\ntitle: {title}\nupdated: 2026-{chance.randint(1, 12):02d}-14\n---"
    return "\n\n".join([head, *parts, says(2)]) + "\n"


def _filled(template, chance):
    kinds = {
        "T": lambda: f"**{chance.choice(sorted(GLOSSARY))}**",
        "C": lambda: f"`{chance.choice(INLINE)}`",
        "P": lambda: chance.choice(PLACEHOLDERS),
        "L": lambda: f"[{chance.choice(LINK_TEXTS)}]({chance.choice(TARGETS)})",
        "N": lambda: str(chance.randint(2, 60)),
    }
    return re.sub(r"\{([TCPLN])\}", lambda slot: kinds[slot[1]](), template)


def _items(chance):
    numbered = chance.random() < 0.5
    some = chance.sample(ITEMS, chance.randint(3, 4))
    marks = [f"{i}." if numbered else "-" for i in range(1, len(some) + 1)]
    return "\n".join(f"{mark} {_filled(item, chance)}" for mark, item in zip(marks, some, strict=True))


def _table(chance):
    rows = zip(chance.sample(INLINE, 3), chance.sample(MEANINGS, 3), strict=True)
    head = [f"| {COLUMNS[0]} | {COLUMNS[1]} |", "|---|---|"]
    return "\n".join([*head, *(f"| `{name}` | {says} |" for name, says in rows)])


def _code(chance):
    which = chance.randrange(len(CODES))
    return f"```{LANGUAGES[which]}\n{CODES[which].format(n=chance.randint(2, 60))}\n```"


def _picture(chance):
    return f"![{chance.choice(ALTS)}](pictures/door-{chance.randint(1, 9)}.png)"


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--n", type=int, default=24)
    chosen = parser.parse_args()
    for name, text in files(chosen.seed, chosen.n).items():
        path = chosen.out / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


if __name__ == "__main__":
    main()
