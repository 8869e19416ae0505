"""What goes wrong in a benchmark before or beside its trials.

    BenchError
    ├── TaskError       a task's own files are not as they must be
    ├── PlanError       a plan asks for what is not there
    ├── SpecError       a specification in stages is not as it must be
    └── ProxyError      the running Hotseat did not do its part

What goes wrong in a trial is no exception but its outcome: results.py.
"""

from __future__ import annotations


class BenchError(Exception):
    """The message says what was expected, what was found and what to do, in one line."""


class TaskError(BenchError):
    pass


class PlanError(BenchError):
    pass


class SpecError(BenchError):
    pass


class ProxyError(BenchError):
    pass
