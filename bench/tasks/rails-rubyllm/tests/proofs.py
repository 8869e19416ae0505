"""Proofs that need no Ruby: each a list of what is expected and whether it is so. The share is its score."""

import re
from collections import Counter
from pathlib import PurePosixPath

from application import Application
from rubyllm import rubyllm

from bench.api_ruby import read_ruby

Held = dict[str, bool]

RUBY = r".*\.(?:rb|ru|rake)"
OURS = r"(?:app|lib|config)/.*\.rb"
VIEWS = r"app/(?:views|components)/.*\.(?:erb|haml|slim|rb)"
SCRIPTS = r"app/(?:javascript|assets/javascripts|components)/.*\.(?:js|ts)"
STYLES = r"app/assets/(?:stylesheets|tailwind)/.*\.(?:css|scss)"
KEY = "OPENROUTER_API_KEY"


def rails(app: Application) -> Held:
    kept_out = r"\b(?:has_secure_password|http_basic_authenticate_with|authenticate_user!|devise\b|rodauth)"
    root = r"^\s*(?:root\b|get\s*\(?\s*[\"']/[\"'])"
    starts = {"config/environment.rb", "config.ru", "bin/rails"}
    return {
        "config/routes.rb has a root": app.has(root, r"config/routes\.rb"),
        "config/environment.rb, config.ru and bin/rails": starts <= app.texts.keys(),
        "controllers": app.has(r"class \w+Controller\b", r"app/controllers/.*_controller\.rb"),
        "a layout": bool(app.matching(r"app/views/layouts/.*")),
        "no authentication": not app.has(kept_out, r"app/.*\.rb", r"config/routes\.rb", "Gemfile"),
    }


def gems(app: Application) -> Held:
    gemfile = app.code.get("Gemfile", "")
    named = set(re.findall(r"^\s*gem[ (]\s*[\"']([\w.-]+)[\"']", gemfile, re.MULTILINE))
    either = {
        "Rails": {"rails"},
        "RubyLLM": {"ruby_llm"},
        "Turbo": {"turbo-rails", "hotwire-rails"},
        "Stimulus": {"stimulus-rails", "hotwire-rails"},
        "Tailwind": {"tailwindcss-rails", "tailwindcss-ruby", "cssbundling-rails", "vite_rails"},
        "Brakeman": {"brakeman"},
        "RuboCop": {"rubocop", "rubocop-rails", "rubocop-rails-omakase", "standard"},
        "SimpleCov": {"simplecov"},
        "bundle-audit": {"bundler-audit"},
    }
    return {f"Gemfile: {what}": bool(names & named) for what, names in either.items()}


def ruby_llm_as_it_is(app: Application) -> Held:
    """All or nothing: one call that the gem does not have is an application that does not answer."""
    api = rubyllm()
    findings = [
        str(finding) for path, text in app.matching(RUBY).items() for finding in read_ruby(text, path, api)
    ]
    called = r"\bRubyLLM\s*\.\s*(?:chat|context)\b|\bRubyLLM::(?:Chat|Agent)\b|\bacts_as_chat\b"
    used = app.has(called, r"(?:app|lib)/.*\.rb")
    is_so = used and not findings
    said = "; ".join(findings[:5]) or "it is not used in app/ or lib/"
    return {"RubyLLM is used, and only as it is" + ("" if is_so else f": {said}"): is_so}


def openrouter(app: Application) -> Held:
    configured = rf"openrouter_api_key\b[^\n]*\n?[^\n]*\bENV\b[^\n]*{KEY}"
    models = (OURS, r"config/.*\.yml", r"(?:docker-)?compose\.ya?ml", r"\.env\.\w+")
    return {
        f"openrouter_api_key is ENV's {KEY}": app.has(configured, OURS),
        "the model is Claude Sonnet": app.has(r"claude-(?:[\d.-]+-)?sonnet", *models),
    }


_SECRET = re.compile(r"\b(?:sk|rk|pk|ghp|gho|xox[bp])[-_](?:or-v\d-|ant-(?:api\d+-)?|proj-|live_)?(\w{24,})")


def no_secret(app: Application) -> Held:
    """A placeholder is no key: that has digits, and many characters."""
    found = [
        path
        for path, text in app.texts.items()
        for key in _SECRET.findall(text)
        if any(letter.isdigit() for letter in key) and len(set(key)) >= 8
    ]
    return {"no key in any file" + (f", found one in {', '.join(found[:5])}" if found else ""): not found}


def tailwind(app: Application) -> Held:
    utility = re.compile(
        r"(?:[\w-]+:)*-?(?:flex|grid|hidden|block|sticky|fixed|truncate|antialiased|italic|underline|border|rounded"
        r"|(?:p|m|w|h|px|py|pt|pb|pl|pr|mx|my|mt|mb|ml|mr|gap|text|bg|font|border|rounded|shadow|ring|max-w|max-h|min-w"
        r"|min-h|space-[xy]|items|justify|self|flex|grid|col|row|overflow|leading|tracking|whitespace|inset|top"
        r"|bottom|opacity|z|transition|animate|divide|size|break|resize|outline|place)-[\w./\[\]%#-]+)"
    )
    quoted = re.compile(r"class(?:[:=]|es\s*=|\s*=>)\s*[\"']([^\"']*)", re.DOTALL)
    views = app.matching(VIEWS, r"app/helpers/.*\.rb").values()
    words = {word for text in views for list_ in quoted.findall(text) for word in list_.split()}
    utilities = [word for word in words if utility.fullmatch(word)]
    imported = r"@import\s+[\"']tailwindcss|@tailwind\s+\w|@config\b"
    return {
        "Tailwind is in a style sheet": app.has(imported, r"app/.*\.(?:css|scss)"),
        f"at least 10 of its classes in the views, found {len(utilities)}": len(utilities) >= 10,
    }


def turbo(app: Application) -> Held:
    answered = r"\bturbo_stream\.\w+|render[ (]\s*turbo_stream:|\bbroadcasts?_\w+|Turbo::StreamsChannel"
    return {
        "Turbo is on the page": app.has(r"@hotwired/turbo", SCRIPTS),
        "Turbo streams are answered": bool(app.matching(r"app/views/.*\.turbo_stream\.\w+"))
        or app.has(answered, r"app/.*\.rb", VIEWS),
        "into something that has an id": app.has(r"\bid[=:]|dom_id|turbo_frame_tag|turbo_stream_from", VIEWS),
    }


def stimulus(app: Application) -> Held:
    """Several controllers of our own, and every one of them is in use."""
    found = {
        PurePosixPath(path).stem.removesuffix("_controller"): text
        for path, text in app.matching(SCRIPTS).items()
        if path.endswith(("_controller.js", "_controller.ts")) and "hello_controller" not in path
    }
    extends = re.compile(r"extends\s+Controller")
    written = {name.replace("_", "-") for name, text in found.items() if extends.search(text)}
    views = "\n".join(app.matching(VIEWS, r"app/helpers/.*\.rb").values())
    used = {name for name in written if re.search(rf"controller[^\n]*[\"' ]{re.escape(name)}[\"' ]", views)}
    unused = ", ".join(sorted(written - used))
    return {
        f"at least 2 Stimulus controllers, found {len(written)}": len(written) >= 2,
        "every one is used" + (f", not {unused}" if unused else ""): bool(used) and not unused,
    }


def components(app: Application) -> Held:
    parts = app.matching(
        r"app/views/(?:.*/)?_[^/]+\.(?:erb|haml|slim)",
        r"app/components/.*\.rb",
        r"app/views/.*\.rb",
    )
    rendered = app.has(r"\brender\b|\bturbo_stream\.\w+|\bbroadcast", VIEWS, r"app/.*\.rb")
    return {
        f"at least 3 partials or components, found {len(parts)}": len(parts) >= 3,
        "they are rendered": bool(parts) and rendered,
    }


MAX_GLUE_LINES = 60  # of application.css and application.js
MAX_VIEW_LINES = 120
MAX_INLINE_LINES = 5
REPEATED_LINES = 7
REPEATED_CHARS = 8  # shorter lines, as what closes a tag or a block, are no repetition


def nothing_piled(app: Application) -> Held:
    glue = app.matching(r"app/(?:.*/)?application(?:\.\w+)*\.(?:css|scss|js|ts)")
    views = app.matching(VIEWS)
    inline = [
        path
        for path, text in views.items()
        for body in re.findall(r"<(?:style|script)\b[^>]*>(.*?)</(?:style|script)>", text, re.DOTALL)
        if _lines(body) > MAX_INLINE_LINES
    ]
    long_ = [path for path, text in glue.items() if _lines(text) > MAX_GLUE_LINES]
    long_ += [path for path, text in views.items() if _lines(text) > MAX_VIEW_LINES]
    twice = _repeated(app.matching(VIEWS, SCRIPTS, STYLES, r"app/.*\.rb"))
    return {
        _but("no file is where everything goes", long_): not long_,
        _but("no style and no script inside a view", sorted(set(inline))): not inline,
        _but("nothing stands there twice", twice): not twice,
    }


def _lines(text: str) -> int:
    return sum(1 for line in text.splitlines() if line.strip())


def _repeated(texts: dict[str, str]) -> list[str]:
    """Files that share so many lines in a row with another, or have them twice."""
    places: dict[tuple[str, ...], Counter[str]] = {}
    for path, text in texts.items():
        lines = [line.strip() for line in text.splitlines() if len(line.strip()) >= REPEATED_CHARS]
        for at in range(len(lines) - REPEATED_LINES + 1):
            places.setdefault(tuple(lines[at : at + REPEATED_LINES]), Counter())[path] += 1
    return sorted({path for found in places.values() if found.total() > 1 for path in found})


def _but(expected: str, found: list[str]) -> str:
    return expected + (f", found {', '.join(found[:5])}" if found else "")


def tests(app: Application) -> Held:
    """A test file for every class of the application with something in it."""
    classes = [
        PurePosixPath(path).stem
        for path, text in app.matching(r"app/.*\.rb").items()
        if re.search(r"^\s*(?:class|module)\s+[A-Z]", text, re.MULTILINE)
        and _lines(text) > 2
        and not PurePosixPath(path).name.startswith("application_")
    ]
    tested = {
        PurePosixPath(path).stem.removesuffix("_test")
        for path, text in app.matching(r"test/.*_test\.rb").items()
        if re.search(r"^\s*(?:test\s*\(?\s*[\"']|def test_|it\s+[\"'])", text, re.MULTILINE)
        and re.search(r"\b(?:assert|refute|must_|wont_|expect)", text)
    }
    expected = {f"tests of {name}": name in tested for name in classes}
    return expected or {"classes to be tested": False}


def integration(app: Application) -> Held:
    workflows = (
        r"\.(?:github|forgejo|gitea)/workflows/.*\.ya?ml",
        r"\.gitlab-ci\.yml",
        r"\.circleci/config\.yml",
        r"config/ci\.rb",
        r"bin/ci",
    )
    return {
        "CI runs the tests": app.has(r"\b(?:rails|rake)[ \"',]+test\b|minitest", *workflows),
        "CI runs Brakeman": app.has(r"\bbrakeman\b", *workflows),
        "CI runs RuboCop": app.has(r"\brubocop\b", *workflows),
        "CI runs bundle-audit": app.has(r"\bbundler?[-:]audit\b|bundle audit\b", *workflows),
        "the tests start SimpleCov": app.has(r"SimpleCov\.start", r"test/.*\.rb", r"\.simplecov"),
    }


def readme(app: Application) -> Held:
    text = next((text for path, text in app.texts.items() if path.lower() == "readme.md"), "")
    headings = "\n".join(re.findall(r"^#+\s.*$", text, re.MULTILINE)).lower()
    words = len(re.sub(r"```.*?```", "", text, flags=re.DOTALL).split())
    set_up = r"set(?:ting)?[- ]?(?:it )?up|install|prerequisite|requirement|getting started|configur"
    run = r"\brun|\bstart|usage|local|develop|docker"
    return {
        f"README.md: what it does, in 60 words or more, found {words}": words >= 60,
        "README.md: how it is set up": bool(re.search(set_up, headings)) and KEY in text,
        "README.md: how it is run": bool(re.search(run, headings))
        and bool(re.search(r"bin/dev|bin/rails s|rails s\b|rails server|docker[- ]compose", text)),
    }


def docker(app: Application) -> Held:
    compose = (r"(?:docker-)?compose(?:\.\w+)?\.ya?ml",)
    dockerfile = ("Dockerfile",)
    return {
        "Dockerfile: from a Ruby image": app.has(r"^FROM\s+.*\bruby\b", *dockerfile),
        "Dockerfile: the gems": app.has(r"\bbundle install\b", *dockerfile),
        "Dockerfile: it starts": app.has(r"^(?:CMD|ENTRYPOINT)\b", *dockerfile),
        "compose: a service built here": app.has(r"^services:", *compose)
        and app.has(r"^\s+build:", *compose),
        "compose: a port": app.has(r"^\s+ports:", *compose),
        "compose: the key is handed on": app.has(rf"\b{KEY}\b|^\s+env_file:", *compose),
    }


PROOFS = (
    rails,
    gems,
    ruby_llm_as_it_is,
    openrouter,
    no_secret,
    tailwind,
    turbo,
    stimulus,
    components,
    nothing_piled,
    tests,
    integration,
    readme,
    docker,
)
