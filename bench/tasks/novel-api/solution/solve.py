"""solve.py TEMPLATE...: fills in the names, in the order in which the package defines them."""

import re
import sys
from pathlib import Path
from string import Template

source = next(Path().glob("*/_store.py")).with_name("__init__.py").read_text()
names = {"package": next(Path().glob("*/_store.py")).parent.name}
names["Fault"], names["Busy"], names["Row"], names["Sheet"], names["Archive"] = re.findall(r"^class (\w+)", source, re.M)
names["pause"] = re.search(r"self\.(\w+) = \1\n\n\n@", source)[1]
fields = re.findall(r"^    (\w+): ", source, re.M)
names["when"], names["level"], names["flag"], names["rows"], names["following"] = fields
methods = [name for name in re.findall(r"^    def (\w+)", source, re.M) if not name.startswith("_")]
names["fetch"], names["write"], names["close"] = methods
names["since"], names["until"], names["mark"], _ = re.findall(r"(\w+):", source[source.index(f"def {methods[0]}") :])[:4]
names["numbers"] = re.search(r"/, \*, (\w+): tuple", source)[1]
names["open"], names["mode"] = re.search(r"^def (\w+)\(gauge: str, /, \*, (\w+)", source, re.M).groups()
names["rest"], names["hours"] = re.search(r"^def (\w+)\((\w+): int\) -> None", source, re.M).groups()
names["reading"], names["writing"] = re.search(r'not in \("(\w+)", "(\w+)"\)', source).groups()
names["doubtful"], names["sound"] = re.search(r'"(\w+)" if hour .* else "(\w+)"', Path(names["package"], "_store.py").read_text()).groups()

for template in map(Path, sys.argv[1:]):
    Path(template.stem).write_text(Template(template.read_text()).substitute(names))
