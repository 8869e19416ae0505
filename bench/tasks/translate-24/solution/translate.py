"""translate.py [WAY]: translates en/ into de/. WAY names a way to be wrong: copies, code, terms, links, halfway."""

import re
import sys
from pathlib import Path

LABELS = {
    "Pickup slot": "Abholzeit", "Shelf": "Fachboden", "Bin": "Fach", "Dashboard": "Dashboard",
    "Audit trail": "Prüfprotokoll", "Quiet hours": "Ruhezeit", "Handover": "Übergabe", "Sender": "Einlieferer",
    "Recall": "Rückholung", "Watchlist": "Merkliste", "Spare key": "Zweitschlüssel", "Check-in": "Check-in",
    "Overflow": "Ausweichlager", "Duty officer": "Dienst habende Person", "Seal": "Plombe", "Batch run": "Sammellauf",
}
OBVIOUS = LABELS | {"Shelf": "Regal", "Bin": "Behälter", "Sender": "Absender", "Overflow": "Überlauf", "Seal": "Siegel",
                    "Dashboard": "Übersicht", "Recall": "Rückruf", "Quiet hours": "Ruhezeiten"}
TEXTS = {
    "Before you begin": "Bevor Sie beginnen", "The first delivery": "Die erste Lieferung",
    "When a door stays shut": "Wenn eine Tür geschlossen bleibt",
    "Moving to another building": "Umzug in ein anderes Gebäude", "Who may see what": "Wer was sehen darf",
    "Messages to customers": "Nachrichten an Kunden", "Every morning": "Jeden Morgen", "Every evening": "Jeden Abend",
    "Returns and complaints": "Rückgaben und Beschwerden", "Changing the opening times": "Öffnungszeiten ändern",
    "What happens at night": "Was nachts geschieht", "Cleaning and repairs": "Reinigung und Reparaturen",
    "A new colleague": "Ein neuer Kollege", "When the power fails": "Wenn der Strom ausfällt",
    "Lost parcels": "Verlorene Pakete", "The yearly inspection": "Die jährliche Prüfung",
    "Large and heavy parcels": "Große und schwere Pakete", "Working without a network": "Arbeiten ohne Netz",
    "Printing labels": "Etiketten drucken", "Keeping data short": "Daten kurz aufbewahren",
    "Asking for help": "Um Hilfe bitten", "Reading the reports": "Die Berichte lesen",
    "Connecting a scale": "Eine Waage anschließen", "Preparing for holidays": "Vorbereitung auf Feiertage",
    "Two locations, one team": "Zwei Standorte, ein Team", "Closing a location": "Einen Standort schließen",
    "What you need": "Was Sie brauchen", "Step by step": "Schritt für Schritt",
    "What can go wrong": "Was schiefgehen kann", "How it works": "Wie es funktioniert",
    "Settings for this": "Einstellungen dazu", "An example": "Ein Beispiel", "Who does what": "Wer was tut",
    "Questions that are often asked": "Häufige Fragen", "What to check afterwards": "Was danach zu prüfen ist",
    "Good to know": "Gut zu wissen",
    "Setting": "Einstellung", "Meaning": "Bedeutung",
    "how long a parcel may stay": "wie lange ein Paket bleiben darf",
    "who gets a message first": "wer zuerst eine Nachricht bekommt",
    "whether the light is on at night": "ob das Licht nachts an ist",
    "how often the door is checked": "wie oft die Tür geprüft wird",
    "which language the letters have": "welche Sprache die Briefe haben",
    "what is done with old lists": "was mit alten Listen geschieht",
    "the page about doors": "der Seite über Türen", "our rules": "unseren Regeln",
    "the list of questions": "der Liste der Fragen", "the chapter about the night": "dem Kapitel über die Nacht",
    "the first steps": "den ersten Schritten", "the table of prices": "der Preistabelle",
    "the old manual": "dem alten Handbuch",
    "The open door, seen from the side": "Die offene Tür, von der Seite gesehen",
    "A label with its number": "Ein Etikett mit seiner Nummer",
    "The list on a small screen": "Die Liste auf einem kleinen Bildschirm",
}
# {T}, {C}, {P}, {L} and {N} are what they are in the pages: labels, inline code, placeholders, links, numbers.
SENTENCES = {
    "Open {T} before you start anything else.": "Öffnen Sie {T}, bevor Sie mit etwas anderem beginnen.",
    "The value of {C} is read only once, when the program starts.":
        "Der Wert von {C} wird nur einmal gelesen, wenn das Programm startet.",
    "If {T} stays grey, somebody else is still working on it.":
        "Wenn {T} grau bleibt, arbeitet noch jemand anderes daran.",
    "The message shows {P} where the name of the customer will be.":
        "Die Nachricht zeigt {P} an der Stelle, an der der Name des Kunden stehen wird.",
    "You can read more about this in {L}.": "Mehr darüber lesen Sie in {L}.",
    "Never change {C} while {T} is open, because the change would be lost.":
        "Ändern Sie {C} nie, während {T} geöffnet ist, denn die Änderung ginge verloren.",
    "After {N} minutes without an answer the request is given up.":
        "Nach {N} Minuten ohne Antwort wird die Anfrage aufgegeben.",
    "Most people never need {T}, and that is how it should be.":
        "Die meisten brauchen {T} nie, und so soll es auch sein.",
    "The list under {T} shows what has arrived in the last {N} days.":
        "Die Liste unter {T} zeigt, was in den letzten {N} Tagen angekommen ist.",
    "Write {P} letter by letter, exactly as it stands here.":
        "Schreiben Sie {P} Zeichen für Zeichen genau so, wie es hier steht.",
    "A parcel that nobody collects goes back after {N} days.":
        "Ein Paket, das niemand abholt, geht nach {N} Tagen zurück.",
    "When the door does not open, try it again with {C}.":
        "Wenn sich die Tür nicht öffnet, versuchen Sie es noch einmal mit {C}.",
    "It does not matter whether {T} or {T} comes first.": "Es ist gleich, ob zuerst {T} oder {T} kommt.",
    "Everything that was written to {C} can be deleted after {N} weeks.":
        "Alles, was in {C} geschrieben wurde, kann nach {N} Wochen gelöscht werden.",
    "Do not be surprised when {P} is empty: the customer has not told us a name.":
        "Wundern Sie sich nicht, wenn {P} leer ist: Der Kunde hat uns keinen Namen genannt.",
    "The rules for this are in {L}, and they are the same for everybody.":
        "Die Regeln dafür stehen in {L}, und sie sind für alle gleich.",
    "With {C} you see at once which parcels are too heavy.":
        "Mit {C} sehen Sie sofort, welche Pakete zu schwer sind.",
    "Choose {T} and wait until the light is green.": "Wählen Sie {T} und warten Sie, bis das Licht grün ist.",
    "Nobody but you can see what is written under {T}.":
        "Niemand außer Ihnen kann sehen, was unter {T} geschrieben steht.",
    "In the letter to the customer, {P} and {P} are filled in by the program.":
        "Im Brief an den Kunden werden {P} und {P} vom Programm ausgefüllt.",
    "As long as {C} is set, no message is sent at night.":
        "Solange {C} gesetzt ist, wird nachts keine Nachricht verschickt.",
    "This takes about {N} seconds, and you must not switch off the machine meanwhile.":
        "Das dauert etwa {N} Sekunden, und Sie dürfen die Maschine währenddessen nicht ausschalten.",
    "We have described the old way in {L}, but you should not use it any more.":
        "Den alten Weg haben wir in {L} beschrieben, aber Sie sollten ihn nicht mehr nutzen.",
    "If there is a second door, the same is true for it.":
        "Wenn es eine zweite Tür gibt, gilt für sie das Gleiche.",
    "The program remembers under {T} who has done what, and when.":
        "Das Programm merkt sich unter {T}, wer was getan hat und wann.",
    "Please ask in {L} if something is not clear.": "Bitte fragen Sie in {L} nach, wenn etwas nicht klar ist.",
    "There is a short way: press the key twice and then choose {T}.":
        "Es gibt einen kurzen Weg: Drücken Sie die Taste zweimal und wählen Sie dann {T}.",
    "What stands in {C} always wins over what was chosen under {T}.":
        "Was in {C} steht, hat immer Vorrang vor dem, was unter {T} gewählt wurde.",
    "You find the number of the parcel on the label, below the address.":
        "Die Nummer des Pakets finden Sie auf dem Etikett, unter der Adresse.",
    "Only {N} parcels fit into one row, even if they are small.":
        "Nur {N} Pakete passen in eine Reihe, auch wenn sie klein sind.",
    "Before the first delivery, put {P} into the template, or the letter stays without a date.":
        "Setzen Sie vor der ersten Lieferung {P} in die Vorlage ein, sonst bleibt der Brief ohne Datum.",
    "Both doors are locked again by {C}, which runs every {N} minutes.":
        "Beide Türen werden von {C} wieder verriegelt, das alle {N} Minuten läuft.",
    "the key and a pen": "der Schlüssel und ein Stift",
    "a list of all parcels that are still there": "eine Liste aller Pakete, die noch da sind",
    "the value of {C}": "der Wert von {C}", "at least {N} free places": "mindestens {N} freie Plätze",
    "a look at {T}": "ein Blick auf {T}", "the page {L}": "die Seite mit {L}",
    "somebody who can help you": "jemand, der Ihnen helfen kann",
    "the number that {P} stands for": "die Nummer, für die {P} steht", "{T}, but not {T}": "{T}, aber nicht {T}",
    "a printer with enough paper": "ein Drucker mit genug Papier",
}
SLOTS = {
    "{T}": r"\*\*[^*]+\*\*", "{C}": r"`[^`]+`", "{L}": r"\[[^\]]+\]\((?:[^()]|\([^()]*\))*\)", "{N}": r"\d+",
    "{P}": r"(?:\{\{ \w+ \}\}|\$\{\w+\}|\{[^{}]+\}|%\(\w+\)s|%s|<<\w+>>)",
}


def pattern(template):
    parts = re.split(r"(\{[TCPLN]\})", template)
    return re.compile("".join(f"({SLOTS[part]})" if part in SLOTS else re.escape(part) for part in parts))


PATTERNS = [(pattern(english), german) for english, german in sorted(SENTENCES.items(), key=lambda p: -len(p[0]))]


def sentences(text):
    """Of one line: each is replaced by its translation, with the slots as they were."""
    done = ""
    while text:
        for english, german in PATTERNS:
            if found := english.match(text):
                slots = iter(found.groups())
                done += re.sub(r"\{[TCPLN]\}", lambda _: next(slots), german)  # noqa: B023
                text = text[found.end() :]
                break
        else:
            done, text = done + text[0], text[1:]
    return done


def labelled(text, labels):
    return re.sub(r"\*\*([^*]+)\*\*", lambda label: f"**{labels[label[1]]}**", text)


def translated(line, way):
    if line.startswith("|"):
        return "|".join(cell.replace(cell.strip(), TEXTS.get(cell.strip(), cell.strip())) for cell in line.split("|"))
    start, rest = re.match(r"(#+ |title: |- |\d+\. |)(.*)", line).groups()
    rest = TEXTS.get(rest) or sentences(rest)
    rest = re.sub(r"\[([^\]`]+)\](?=\()", lambda link: f"[{TEXTS[link[1]]}]", rest)
    if way == "links":
        rest = rest.replace("lang=en", "lang=de").replace("first-steps", "erste-schritte")
    return start + labelled(rest, OBVIOUS if way == "terms" else LABELS)


def page(text, way):
    lines, in_code = [], False
    for line in text.split("\n"):
        is_fence = line.startswith("```")
        if in_code and way == "code":
            line = line.replace("# ", "# hier: ").replace('"comment"', '"kommentar"')
        if not (in_code or is_fence or line.startswith("<!--")):
            line = translated(line, way)
        in_code ^= is_fence
        lines.append(line)
    return "\n".join(lines)


way = sys.argv[1] if len(sys.argv) > 1 else ""
Path("de").mkdir()
for number, path in enumerate(sorted(Path("en").glob("*.md"))):
    text = path.read_text()
    if way == "halfway":  # the last paragraph stays as it is
        body, _, last = text.rstrip("\n").rpartition("\n\n")
        text = page(body, "") + "\n\n" + labelled(last, LABELS) + "\n"
    elif way != "copies":
        text = page(text, way)
    (Path("de") / path.name).write_text(text)
