"""check.py TESTS APP VERIFIER: the share of modules that do with the new store what they did with the old.

Each migrated module is loaded from its file alone, with the new store as it was and without the old one,
asked what its original is asked, and must leave the same things in the store for the same time. A file that
was changed, added or removed beside the modules takes away what one module is worth.
"""

import ast
import json
import os
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
import probe
import start

LOAD = """
import importlib.util, sys
{before}
spec = importlib.util.spec_from_file_location("migrated", {path!r})
m = importlib.util.module_from_spec(spec)
spec.loader.exec_module(m)
"""
OLD_STATE = """{
    name: {key: (value, minutes * 60) for key, (value, minutes) in sorted(box.items())}
    for name, box in __import__("oldstore").BOXES.items()
}"""
NEW_STATE = "{name: dict(sorted(shelf.items())) for name, shelf in __import__('newstore').SHELVES.items()}"
WITHOUT_OLD = "sys.modules['oldstore'] = None"


def outline(source):
    """What a module shows: its constants, classes, functions and their parameters."""
    shown = set()
    for node in ast.parse(source).body:
        if isinstance(node, ast.FunctionDef):
            shown.add((node.name, ast.unparse(node.args)))
        elif isinstance(node, ast.ClassDef):
            shown.add((node.name, ""))
        elif isinstance(node, ast.Assign):
            shown |= {
                (ast.unparse(name), "") for name in node.targets if not ast.unparse(name).startswith("_")
            }
    return shown


def shows_the_same(module, path):
    try:
        return outline(module.source) <= outline(path.read_text())
    except (OSError, SyntaxError, ValueError):
        return False


def is_byproduct(name):
    """Of tools and harnesses: .git, .pytest_cache."""
    return name.startswith(".") or name == "__pycache__"


def meddled(app, original):
    """Files beside the modules that are not as they were."""
    present = {
        path.relative_to(app).as_posix()
        for path in app.rglob("*")
        if not path.is_dir() and not any(is_byproduct(part) for part in path.relative_to(app).parts)
    }
    odd = present ^ set(original)
    for name in present & set(original):
        if not name.startswith("modules/") and (app / name).read_bytes() != original[name].encode():
            odd.add(name)
    return sorted(odd)


def right_modules(app, modules, original):
    with tempfile.TemporaryDirectory() as folder:
        begun = Path(folder)
        for name, text in original.items():
            (begun / name).parent.mkdir(exist_ok=True)
            (begun / name).write_text(text)
        stores = begun / "stores"
        stores.mkdir()
        (stores / "newstore.py").write_text(original["newstore.py"])
        groups = []
        for module in modules:
            before = LOAD.format(before="", path=str(begun / module.path))
            after = LOAD.format(before=WITHOUT_OLD, path=str(app / module.path))
            groups.append(probe.Group((str(begun),), before, (*module.asks, OLD_STATE)))
            groups.append(probe.Group((str(stores),), after, (*module.asks, NEW_STATE)))
        found = probe.answers(groups, begun, preload=("collections", "importlib.util"))
    for module, right, got in zip(modules, found[::2], found[1::2], strict=True):
        wrong = [f"expected {r:.300}, found {g:.300}" for r, g in zip(right, got, strict=True) if r != g]
        if not wrong and not shows_the_same(module, app / module.path):
            wrong = ["names or parameters have changed"]
        print(module.path, module.kind, "; ".join(wrong) or "right")
        yield not wrong


tests, app, verifier = (Path(argument) for argument in sys.argv[1:4])
seed, n = int(os.environ.get("HOTSEAT_SEED", "1")), int(os.environ.get("HOTSEAT_N", "5"))
original = start.files(seed, n)
modules = start.modules(seed, n)
right = list(right_modules(app, modules, original))
odd = meddled(app, original)
print("not as they were:", odd)
traps = [good for good, module in zip(right, modules, strict=True) if start.KINDS[module.kind].is_trap]
scores = {
    "modules": sum(right) / n,
    "traps": sum(traps) / len(traps),
    "untouched": 1 - min(1.0, len(odd) / n),
}
reward = round(max(0.0, (sum(right) - len(odd)) / n), 6)
(verifier / "reward.json").write_text(json.dumps({"reward": reward, **scores}))
