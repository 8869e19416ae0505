"""What was left, as text: which files of a Rails application are the agent's, and what is code in them."""

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath

MAX_FILES = 5_000
MAX_BYTES = 256 * 1024
# Of machines, not of authors; what lies there is neither judged nor committed.
LEFT_OUT = {".git", "node_modules", "vendor", "tmp", "log", "storage", "coverage", "builds", ".bundle"}
_RUBY_COMMENT = re.compile(r"^[ \t]*#[^\n]*|[ \t]#[ \t][^\n]*|^=begin\b.*?^=end\b", re.MULTILINE | re.DOTALL)
_VIEW_COMMENT = re.compile(r"<%#.*?%>|<!--.*?-->", re.DOTALL)
_CSS_COMMENT = re.compile(r"/\*.*?\*/", re.DOTALL)
_SCRIPT_COMMENT = re.compile(r"/\*.*?\*/|^[ \t]*//[^\n]*", re.MULTILINE | re.DOTALL)


def _ruby(text: str) -> str:
    return _RUBY_COMMENT.sub(lambda found: "\n" * found.group().count("\n"), text)


_WITHOUT_COMMENTS = {
    ".erb": lambda text: _VIEW_COMMENT.sub("", text),
    ".css": lambda text: _CSS_COMMENT.sub("", text),
    ".js": lambda text: _SCRIPT_COMMENT.sub("", text),
    ".md": str,
}


def code_of(path: str, text: str) -> str:
    """Without comments. What is neither view, style nor script has Ruby's: YAML, Dockerfile, Gemfile."""
    return _WITHOUT_COMMENTS.get(PurePosixPath(path).suffix, _ruby)(text)


@dataclass(frozen=True)
class Application:
    root: Path

    @cached_property
    def texts(self) -> dict[str, str]:
        """By path. What is too big, or no text, is not there."""
        found: dict[str, str] = {}
        for path in self._paths():
            try:
                data = path.read_bytes() if path.stat().st_size <= MAX_BYTES else b"\0"
            except OSError:
                continue
            if b"\0" not in data:
                found[path.relative_to(self.root).as_posix()] = data.decode(errors="replace")
        return found

    def _paths(self) -> Iterator[Path]:
        count = 0
        for folder, folders, names in os.walk(self.root):
            folders[:] = sorted(set(folders) - LEFT_OUT)
            for name in sorted(names):
                path = Path(folder, name)
                count += 1
                if count > MAX_FILES:
                    return
                if path.is_file() and not path.is_symlink():
                    yield path

    @cached_property
    def code(self) -> dict[str, str]:
        return {path: code_of(path, text) for path, text in self.texts.items()}

    def matching(self, *patterns: str) -> dict[str, str]:
        """Code of the files whose whole path is like one of these regular expressions."""
        wanted = re.compile("|".join(patterns))
        return {path: text for path, text in self.code.items() if wanted.fullmatch(path)}

    def has(self, text: str, *patterns: str) -> bool:
        """Whether this regular expression is in the code of one of those files."""
        wanted = re.compile(text, re.MULTILINE)
        return any(wanted.search(code) for code in self.matching(*patterns).values())

    @property
    def is_rails(self) -> bool:
        return "Gemfile" in self.texts and "config/application.rb" in self.texts
