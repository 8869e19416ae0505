"""migrate.py FILE...: every use of a box becomes a use of a shelf that does the same, traps included."""

import ast
import sys
from pathlib import Path

# What a bound method of a box becomes where it is called or handed on.
ADAPTED = {
    "put": "lambda key, value, minutes=None: {box}.store("
    "key=key, value=value, ttl_s=None if minutes is None else minutes * 60)",
    "fetch": "lambda key, default=None: {box}.read(key=key, fallback=default)",
    "drop": "lambda key: key in (e.key for e in {box}.find()) and {box}.remove(key=key) is None",
    "bump": "lambda key, by=1: {box}.add(key=key, amount=by) - by",
    "scan": "lambda prefix='', limit=0: sorted({box}.find(prefix=prefix))[:limit or None]",
}


class Migration(ast.NodeTransformer):
    def __init__(self):
        self.boxes = set()

    def visit_ImportFrom(self, node):
        if node.module == "oldstore":
            return ast.parse("from newstore import Shelf").body[0]
        return node

    def visit_Import(self, node):
        if node.names[0].name == "oldstore":
            return ast.parse("from newstore import Shelf").body[0]
        return node

    def visit_Assign(self, node):
        if isinstance(node.value, ast.Call) and ast.unparse(node.value.func).split(".")[-1] == "Box":
            self.boxes.add(ast.unparse(node.targets[0]))
            name, minutes = (ast.unparse(argument) for argument in node.value.args)
            node.value = ast.parse(f"Shelf(name={name}, ttl_s={minutes} * 60)", mode="eval").body
            return node
        return self.generic_visit(node)

    def visit_Attribute(self, node):
        box = ast.unparse(node.value)
        if box in self.boxes and node.attr in ADAPTED:
            return ast.parse("(" + ADAPTED[node.attr].format(box=box) + ")", mode="eval").body
        return self.generic_visit(node)


for name in sys.argv[1:]:
    path = Path(name)
    tree = Migration().visit(ast.parse(path.read_text()))
    path.write_text(ast.unparse(ast.fix_missing_locations(tree)) + "\n")
