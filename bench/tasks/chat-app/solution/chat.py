"""python3 chat.py STATE: a chat for the terminal."""

import json
import os
import sys
from pathlib import Path

import parley


def multiply(a, b):
    """The product of two whole numbers."""
    return int(a) * int(b)


TOOLS = {"multiply": parley.Tool(multiply)}


def used(call):
    """What goes back to the model."""
    try:
        return str(TOOLS[call.name].function(**call.arguments))
    except Exception as error:
        return f"error: {error!r}"


def answered(provider, messages):
    """The messages of one answer: a text that was printed, or calls and their results."""
    text, made = "", []
    try:
        for piece in provider.converse(messages, tools=list(TOOLS.values())):
            if piece.call is not None:
                made.append(piece.call)
            else:
                print(piece.text, end="", flush=True)
                text += piece.text
    finally:
        if text:
            print(flush=True)
    if made:
        return [parley.calls(*made), *(parley.result(call, used(call)) for call in made)]
    return [parley.model(text)]


def turn(provider, messages, line):
    """The conversation after it."""
    messages = [*messages, parley.user(line)]
    while "text" not in messages[-1] or messages[-1]["role"] != "model":
        messages += answered(provider, messages)
    return messages


def main():
    state = Path(sys.argv[1])
    messages = json.loads(state.read_text()) if state.exists() else []
    provider = parley.Provider.from_environment()
    for line in sys.stdin:
        if not line.strip():
            continue
        try:
            messages = turn(provider, messages, line.rstrip("\n"))
        except parley.Refused as refused:
            print(f"! {refused}", flush=True)
        written = state.with_name(state.name + ".new")
        written.write_text(json.dumps(messages))
        os.replace(written, state)


main()
