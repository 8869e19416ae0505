"""Formats of JSON Schema as patterns, for strings that are written as bare text.

Inside JSON strings the grammar engine knows them by name; these allow the same texts, so that a tool's
schema means the same whatever family the model is of. In the engine's syntax, and as Python reads it.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

_DAY_OF_MONTH: Final = (
    r"(?:0[13578]|1[02])-(?:0[1-9]|[12][0-9]|3[01])|(?:0[469]|11)-(?:0[1-9]|[12][0-9]|30)"
    r"|02-(?:0[1-9]|[12][0-9])"
)
_DATE: Final = rf"[0-9]{{4}}-(?:{_DAY_OF_MONTH})"
_CLOCK: Final = r"(?:[01][0-9]|2[0-3]):[0-5][0-9]"
_TIME: Final = rf"{_CLOCK}:(?:[0-5][0-9]|60)(?:\.[0-9]+)?(?:[zZ]|[+\-]{_CLOCK})"

_LATER: Final = (r"[0-9]+S", r"[0-9]+M(?:[0-9]+S)?", r"[0-9]+H(?:[0-9]+M(?:[0-9]+S)?)?")
_HOURS: Final = rf"T(?:{'|'.join(_LATER)})"
_DAYS: Final = r"(?:[0-9]+Y(?:[0-9]+M(?:[0-9]+D)?)?|[0-9]+M(?:[0-9]+D)?|[0-9]+D)"
_DURATION: Final = rf"P(?:{_DAYS}(?:{_HOURS})?|{_HOURS}|[0-9]+W)"

_BYTE: Final = r"(?:25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])"
_IPV4: Final = rf"(?:{_BYTE}\.){{3}}{_BYTE}"
_HEX: Final = r"[0-9A-Fa-f]{1,4}"


def _groups(at_most: int) -> str:
    return rf"(?:(?:{_HEX}:){{0,{at_most - 1}}}{_HEX})?" if at_most else ""


_IPV6: Final = "|".join(
    [rf"(?:{_HEX}:){{7}}{_HEX}", *(f"{_groups(before)}::{_groups(7 - before)}" for before in range(8))]
)

_LABEL: Final = r"[a-zA-Z0-9](?:[a-zA-Z0-9\-]{0,61}[a-zA-Z0-9])?"
_HOSTNAME: Final = rf"{_LABEL}(?:\.{_LABEL})*"

_ATOM: Final = r"[a-zA-Z0-9!#$%&'*+\-/=?^_`{|}~]+"
_DOMAIN: Final = r"[a-zA-Z0-9](?:[a-zA-Z0-9\-]*[a-zA-Z0-9])?"
_EMAIL: Final = rf"{_ATOM}(?:\.{_ATOM})*@(?:{_DOMAIN}(?:\.{_DOMAIN})*|\[{_IPV4}\])"

_ESCAPED: Final = r"%[0-9a-fA-F]{2}"
_UNRESERVED: Final = r"a-zA-Z0-9\-._\~!$&'()*+,;="
_PCHAR: Final = rf"(?:[{_UNRESERVED}:@]|{_ESCAPED})"
_AUTHORITY: Final = (
    rf"(?:(?:[{_UNRESERVED}:]|{_ESCAPED})*@)?"
    rf"(?:\[(?:{_IPV6}|v[0-9a-fA-F]+\.[{_UNRESERVED}:]+)\]|(?:[{_UNRESERVED}]|{_ESCAPED})*)(?::[0-9]*)?"
)
_PATH: Final = rf"(?:/{_PCHAR}*)*"
_REST: Final = rf"(?:[{_UNRESERVED}:@/?]|{_ESCAPED})*"
_URI: Final = (
    rf"[a-zA-Z][a-zA-Z0-9+\-.]*:(?://{_AUTHORITY}{_PATH}|/?(?:{_PCHAR}+{_PATH})?)(?:\?{_REST})?(?:#{_REST})?"
)

FORMAT_PATTERNS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "date-time": rf"{_DATE}[tT]{_TIME}",
        "date": _DATE,
        "time": _TIME,
        "duration": _DURATION,
        "email": _EMAIL,
        "hostname": _HOSTNAME,
        "ipv4": _IPV4,
        "ipv6": _IPV6,
        "uuid": r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}",
        "uri": _URI,
    }
)
"""Of the whole text, without anchors, which stand around a group."""
