"""One line of comma-separated values: fields may stand in double quotes, and in those a double quote is
written twice."""


def fields(line):
    """Raises ValueError for a quote that is never closed."""
    found = []
    field = ""
    quoted = False
    i = 0
    while i < len(line):
        c = line[i]
        if quoted:
            if c == '"' and line[i + 1 : i + 2] == '"' and line[i + 2 : i + 3] != ",":
                field += c
                i += 1
            elif c == '"':
                quoted = False
            else:
                field += c
        elif c == '"' and not field:
            quoted = True
        elif c == ",":
            found.append(field)
            field = ""
        else:
            field += c
        i += 1
    if quoted:
        raise ValueError(f"a quote is not closed: {line!r}")
    return [*found, field]


def joined(values):
    """The line whose fields are the values."""
    return ",".join(
        '"' + value.replace('"', '""') + '"' if set(value) & {'"', ","} else value for value in values
    )
