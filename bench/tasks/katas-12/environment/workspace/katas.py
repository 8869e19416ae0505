"""Twelve functions to write."""


def run_lengths(text):
    """Runs of equal characters, as a list of (character, length).

    >>> run_lengths("aabccc")
    [('a', 2), ('b', 1), ('c', 3)]
    """
    raise NotImplementedError


def roman(numeral):
    """The number that a Roman numeral stands for, 1 to 3999. ValueError unless it is written as usual: "IIII",
    "VX", "ic", "" and "MMMM" are not.

    >>> roman("MCMXCIV")
    1994
    """
    raise NotImplementedError


def unbalanced_at(text):
    """The index of the first bracket that is wrong, or None if (), [] and {} are nested as they should be. A
    closing bracket that does not fit is wrong; of those that are never closed, the last one opened. Other
    characters do not matter.

    >>> unbalanced_at("f(a[0)")
    5
    >>> unbalanced_at("({")
    1
    """
    raise NotImplementedError


def merged(intervals):
    """Intervals [start, end) as a sorted list of tuples, where those that overlap or touch are one. Empty
    ones (start == end) vanish; start > end is a ValueError. The argument is not changed.

    >>> merged([(5, 8), (1, 3), (3, 4)])
    [(1, 4), (5, 8)]
    """
    raise NotImplementedError


def frequent(text, count):
    """The `count` most frequent words, in lower case, as (word, times): more frequent first, then in
    alphabetical order. A word is a longest run of letters and apostrophes that has a letter; apostrophes at
    its ends do not belong to it.

    >>> frequent("The cat saw the 'other' cat", 2)
    [('cat', 2), ('the', 2)]
    """
    raise NotImplementedError


def anagrams(words):
    """Groups of two or more words with the same letters, whatever their case. In each group the words are in
    the order in which they came, without repeats; groups are in the order of their first words.

    >>> anagrams(["Tea", "ate", "dog", "eat", "ate"])
    [['Tea', 'ate', 'eat']]
    """
    raise NotImplementedError


def seconds(duration):
    """How many seconds "1h30m", "45s" or "2d 3h" are: whole numbers with d, h, m and s, each at most once and
    in this order, with or without blanks between the parts. Anything else is a ValueError.

    >>> seconds("1h30m")
    5400
    """
    raise NotImplementedError


def spiral(rows):
    """The values of a rectangle (a list of rows of equal length), from the upper left corner round and round
    clockwise to the middle.

    >>> spiral([[1, 2, 3], [4, 5, 6]])
    [1, 2, 3, 6, 5, 4]
    """
    raise NotImplementedError


def newest(versions):
    """The newest of versions such as "1.10.0", "1.10.0-rc.2": numbers count as numbers, a missing part is 0, a
    pre-release (after the "-") is older than its release, and pre-releases compare part by part at the dots:
    numbers as numbers and below words, words by the alphabet, and fewer parts before more. Of equal ones the
    first. None for an empty list.

    >>> newest(["1.9", "1.10.0-rc.1", "1.10-beta"])
    '1.10.0-rc.1'
    """
    raise NotImplementedError


def wrapped(text, width):
    """Lines of at most `width` characters, as many words on each as fit, joined by one blank. A word longer
    than a line is cut where the line is full, and begins on a line of its own. No words: no lines.

    >>> wrapped("to be or not", 5)
    ['to be', 'or', 'not']
    """
    raise NotImplementedError


class Recent:
    """At most `size` values by key. `get` gives a value or None; `put` stores one. When there is no room, the
    key that was used longest ago leaves; both `get` (of a key that is there) and `put` are use. `keys` lists the
    keys, the most recently used first. A size below 1 is a ValueError.

    >>> recent = Recent(2)
    >>> recent.put("a", 1); recent.put("b", 2); recent.get("a"); recent.put("c", 3)
    1
    >>> recent.keys()
    ['c', 'a']
    """

    def __init__(self, size):
        raise NotImplementedError

    def get(self, key):
        raise NotImplementedError

    def put(self, key, value):
        raise NotImplementedError

    def keys(self):
        raise NotImplementedError


def calculated(expression):
    """The value of an expression of whole numbers, + - * / ( ) and blanks, with the usual precedence; / rounds
    towards minus infinity; a minus may stand before a number or a bracket. What is no expression is a ValueError,
    and so is division by zero.

    >>> calculated("2 * (3 + 4) - -1")
    15
    """
    raise NotImplementedError
