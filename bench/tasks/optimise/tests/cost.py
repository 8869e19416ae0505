"""Setup of a probe: what one call costs in CPU seconds, and what it returned, in short.

    cost(function, arguments)     (seconds, digest); processes that it started and waited for are counted too

Read as text, not imported: the programs judged are not told where the checks lie.
"""

import hashlib
import resource
from time import process_time


def spent_s(process_time=process_time, getrusage=resource.getrusage):
    children = getrusage(resource.RUSAGE_CHILDREN)
    return process_time() + children.ru_utime + children.ru_stime


def cost(function, arguments, spent_s=spent_s, sha256=hashlib.sha256):
    begun_s = spent_s()
    found = function(*arguments)
    took_s = spent_s() - begun_s
    return took_s, sha256(repr(found).encode()).hexdigest()
