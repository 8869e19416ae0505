"""Setup of a probe: runs the agent's unittest tests and says which ran and which failed.

    outcome("/app")     the names of the tests that ran, and of those among them that failed
    be_strict()         from here on patch() without a spec is patch() with autospec, and creates nothing

Read as text, not imported: the programs judged are not told where the checks lie.
"""

import unittest
from unittest import mock


class Noted(unittest.TestResult):
    def __init__(self):
        super().__init__()
        self.failed = set()
        self.seen = []

    def startTest(self, test):  # noqa: N802
        self.seen.append(test.id())

    def addError(self, test, err):  # noqa: N802
        self.failed.add(test.id())

    def addFailure(self, test, err):  # noqa: N802
        self.failed.add(test.id())

    def addSubTest(self, test, subtest, err):  # noqa: N802
        if err is not None:
            self.failed.add(test.id())

    def addUnexpectedSuccess(self, test):  # noqa: N802
        self.failed.add(test.id())


def outcome(app):
    noted = Noted()
    unittest.TestLoader().discover(app, pattern="test*.py", top_level_dir=app).run(noted)
    return sorted(noted.seen), sorted(noted.failed)


def be_strict():
    begin = mock._patch.__init__

    def strict(self, getter, attribute, new, spec, create, spec_set, autospec, new_callable, kwargs, **more):
        if new is mock.DEFAULT and spec is spec_set is autospec is new_callable is None:
            autospec = True
        begin(self, getter, attribute, new, spec, False, spec_set, autospec, new_callable, kwargs, **more)

    mock._patch.__init__ = strict
