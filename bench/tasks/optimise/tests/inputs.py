"""What the functions are asked: many small inputs, with their edges, and large ones that take time."""

NAMES = ("pairs", "first_seen", "nearest", "ways", "merged", "busiest")
SMALL = 60  # inputs of each function

EDGES = {
    "pairs": (([], 0), ([0], 0), ([2, 2, 2], 4), ([0, 0, 5, -5], 0), ((1, 2, 3), 3), ([0.5, 1, 1.5], 2)),
    "first_seen": (([],), (["a", " A", "a "],), (["", " ", "  x"],), (("B", "b"),), (["ß", "SS", "ẞ"],)),
    "nearest": (([], []), ([], [1]), ([3, 1], [2]), ([5, 5, -5], [0, 9]), ((4,), (1, 7)), ([0, -1], [-0.5])),
    "ways": (
        (0, []), (0, [0]), (5, []), (-1, [1]), (-3, []), (7, [2, -1]), (7, [2, 2]), (6, (3, 1)), (4, [5]),
        (2, [0, 1]),
    ),
    "merged": (
        ([],), ([(1, 2), (2, 3)],), ([(5, 5)],), ([(3, 1)],), ([(1, 9), (2, 3)],),
        ([(1, 2), (4, 5), (2, 4)],), (((7, 8), (1, 2)),), ([(1, 1), (1, 1)],), ([(0, 1), (0.5, 2)],),
    ),
    "busiest": (([], 5), ([1], 0), ([3, 3, 1, 1], 1), ([1, 4], -2), ([9, 1], 5), ((2, 7, 4), 5), ([1, 6], 5)),
}  # fmt: skip


def small(name, chance):
    """The edges, and more by chance."""
    return [*EDGES[name], *(_some(name, chance, chance.randint(1, 9), 12) for _ in range(SMALL))]


# Sizes at which an original takes 15 to 60 ms.
SIZES = {
    "pairs": (900, 1000),
    "first_seen": (420, 4000),
    "nearest": (500, 7000),
    "ways": (80, 0),
    "merged": (1800, 160_000),
    "busiest": (800, 100_000),
}


def large(name, chance):
    return _some(name, chance, *SIZES[name])


def _some(name, chance, count, span):
    numbers = [chance.randint(-span, span) for _ in range(count)]
    match name:
        case "pairs":
            return numbers, chance.randint(-span, span)
        case "first_seen":
            words = [f"w{number}" for number in numbers]
            return ([chance.choice((word, word.upper(), f" {word} ")) for word in words],)
        case "nearest":
            return numbers, [chance.randint(-span, span) for _ in range(count)]
        case "ways":
            return (count, [1, 2, 5, 10, chance.choice((20, 25))]) if span == 0 else (count, _coins(chance))
        case "merged":
            return ([(number, number + chance.randint(0, max(1, span // count // 2))) for number in numbers],)
        case _:
            return numbers, chance.randint(0, max(1, span // 10))


def _coins(chance):
    return [chance.randint(1, 6) for _ in range(chance.randint(0, 4))]
