"""In which order things are built: everything after what it needs, otherwise in the order of the table."""


class Circle(Exception):
    """Things that need each other. `path`: from one back to itself."""

    def __init__(self, path):
        super().__init__(" -> ".join(path))
        self.path = path


def order(needs):
    """`needs`: for every thing, the list of what it needs first. What has no row of its own needs nothing.
    Raises Circle."""
    built = []

    def build(thing, path):
        if thing in path or thing in built:
            return
        for needed in needs.get(thing, []):
            build(needed, [*path, thing])
        built.append(thing)

    for thing in needs:
        if thing not in built:
            build(thing, [])
    return built
