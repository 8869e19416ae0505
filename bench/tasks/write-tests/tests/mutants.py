"""Wrong implementations, each the right one with one passage replaced: NAME: (passage, replacement)."""

MUTANTS = {
    "sizes-unchecked": (
        "            self._rank(size)\n        self._sizes",
        "            pass\n        self._sizes",
    ),
    "deposited-twice": ("if parcel in self._inside:", "if False:"),
    "full-is-value-error": ("raise LookupError(", "raise ValueError("),
    "any-name": ("(self._rank(self._sizes[name]), name)", "self._rank(self._sizes[name])"),
    "first-name-not-smallest": ("(self._rank(self._sizes[name]), name)", "name"),
    "largest": ("(self._rank(self._sizes[name]), name)", "(-self._rank(self._sizes[name]), name)"),
    "same-size-only": (">= least", "== least"),
    "too-small-too": (">= least", ">= 0"),
    "taken-forever": ("        del self._inside[parcel]\n", ""),
    "twice-in-one-locker": ("name not in taken and ", ""),
    "time-unchecked": ("if now < since:", "if False:"),
    "gone-after-wrong-time": (
        "        if now < since:\n",
        "        if now < since:\n            del self._inside[parcel]\n",
    ),
    "at-once-refused": ("if now < since:", "if now <= since:"),
    "no-free-hours": ("now - since - FREE_HOURS", "now - since"),
    "free-hours-end-early": ("now - since - FREE_HOURS", "now - since - FREE_HOURS + 1"),
    "days-completed": ("-(-beyond // 24)", "beyond // 24"),
    "one-day-more": ("-(-beyond // 24)", "beyond // 24 + (beyond > 0)"),
    "refund": ("max(0, now - since - FREE_HOURS)", "now - since - FREE_HOURS"),
    "unbounded": (
        "min(MAX_CENTS, int(days) * CENTS_A_DAY[self._sizes[name]])",
        "int(days) * CENTS_A_DAY[self._sizes[name]]",
    ),
    "bound-of-its-own": ("min(MAX_CENTS,", "min(MAX_CENTS - 1,"),
    "price-of-small": ("CENTS_A_DAY[self._sizes[name]]", 'CENTS_A_DAY["S"]'),
    "medium-as-large": ("CENTS_A_DAY[self._sizes[name]]", "CENTS_A_DAY[self._sizes[name].replace('M', 'L')]"),
    "expires-early": ("> KEEP_HOURS", ">= KEEP_HOURS"),
    "expired-newest-first": ("sorted(late)]", "sorted(late, reverse=True)]"),
    "expired-as-they-came": ("in sorted(late)]", "in late]"),
    "expired-by-name": ("in sorted(late)]", "in sorted(late, key=lambda pair: pair[1])]"),
    "free-of-all": ("return len(self._fitting(size))", "return len(self._fitting('S'))"),
    "free-counts-taken": (
        "return len(self._fitting(size))",
        "return len(self._fitting(size)) + len(self._inside)",
    ),
}


def mutated(source):
    """Sources by name. ValueError if a passage is not there once."""
    made = {}
    for name, (passage, replacement) in MUTANTS.items():
        if source.count(passage) != 1:
            raise ValueError(f"{name}: the passage is there {source.count(passage)} times")
        made[name] = source.replace(passage, replacement)
    return made
