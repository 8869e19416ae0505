"""rails-rubyllm: what its proofs take for RubyLLM and for a Rails application, and when they run either."""

from __future__ import annotations

import importlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from bench.api_ruby import read_ruby
from bench.task import TASKS

TASK = TASKS / "rails-rubyllm"
CHAT = "chat = RubyLLM.chat(model: MODEL)\n"
ASSISTANT = "app/services/assistant.rb"
CONFIGURED = "config/initializers/ruby_llm.rb"


@pytest.fixture(scope="module")
def proofs() -> Iterator[ModuleType]:
    with pytest.MonkeyPatch.context() as patched:
        patched.syspath_prepend(TASK / "tests")
        yield importlib.import_module("proofs")


@pytest.fixture(scope="module")
def solved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("solved")
    solution = TASK / "solution"
    environment = {"PATH": os.environ["PATH"], "HOTSEAT_SOLUTION": str(solution)}
    subprocess.run(["bash", str(solution / "solve.sh")], cwd=folder, env=environment, check=True)
    return folder


@pytest.fixture
def app(solved: Path, tmp_path: Path) -> Path:
    """The oracle's application."""
    return Path(shutil.copytree(solved, tmp_path / "app"))


def share(proofs: ModuleType, proof: str, app: Path) -> float:
    held = getattr(proofs, proof)(proofs.Application(app))
    return float(sum(held.values()) / len(held))


# --- the gem -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "source",
    [
        "RubyLLM.chat(model: M, provider: :openrouter, assume_model_exists: true)\n",
        CHAT + "response = chat.ask(text) { |chunk| print chunk.content }\nresponse.content\n",
        CHAT + 'chat.add_message(role: :user, content: "hello")\nchat.complete.content\n',
        CHAT + "chat.complete do |chunk|\n  stream.write chunk.content\nend\n",
        CHAT + "chat.with_instructions(PROMPT).with_tool(Weather).with_temperature(0.2).ask(text)\n",
        CHAT + "chat.with_model(ID, provider: :openrouter).ask(text, with: file).content\n",
        CHAT + "chat.with_instructions(PROMPT, replace: true)\nchat.with_instructions(MORE, append: true)\n",
        CHAT + "chat.messages.each { |message| puts message.role }\n",
        CHAT + "chat.on_end_message { |message| puts message.output_tokens }\n",
        "RubyLLM.configure do |c|\n  c.openrouter_api_key = ENV['K']\n  c.default_model = M\nend\n",
        "class Weather < RubyLLM::Tool\nend\n",
        "begin\n  nil\nrescue RubyLLM::Error, RubyLLM::RateLimitError => error\n  puts error.message\nend\n",
        "RubyLLM.stub :chat, fake do\n  nil\nend\nRubyLLM.stubs(:chat).returns(fake)\n",
        "RubyLLM::Chat.any_instance.stubs(:ask).returns(fake)\n",
        "RubyLLM.context { |c| c.openrouter_api_key = key }.chat.ask(text).content\n",
        "RubyLLM.models.find(ID)\n",
    ],
)
def test_what_the_gem_has(proofs: ModuleType, source: str) -> None:
    assert [str(finding) for finding in read_ruby(source, "x.rb", proofs.rubyllm())] == []


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("client = RubyLLM::Client.new(api_key: KEY)\n", "RubyLLM has no 'Client'"),
        ("RubyLLM.client\n", "RubyLLM has no 'client'"),
        (CHAT + 'chat.user("hello")\n', "Chat has no 'user'"),
        (CHAT + "chat.stream(text) { |chunk| nil }\n", "Chat has no 'stream'"),
        (CHAT + "chat.complete(messages)\n", "too many positional arguments"),
        (CHAT + "response = chat.ask(text)\nputs response.text\n", "Message has no 'text'"),
        (CHAT + "chat.ask(text) { |chunk| print chunk.delta }\n", "Chunk has no 'delta'"),
        ("RubyLLM.chat(api_key: KEY)\n", "unexpected keyword argument 'api_key'"),
        ("RubyLLM.configure { |config| config.open_router_key = KEY }\n", "has no 'open_router_key='"),
    ],
)
def test_what_the_gem_has_not(proofs: ModuleType, source: str, said: str) -> None:
    (finding,) = read_ruby(source, "x.rb", proofs.rubyllm())
    assert said in str(finding)


# --- the application -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("proof", "path", "old", "new"),
    [
        ("rails", "config/routes.rb", 'root "', 'get "chat" => "'),
        (
            "rails",
            "app/controllers/messages_controller.rb",
            "  def create",
            "  before_action :authenticate_user!\n",
        ),
        ("gems", "Gemfile", 'gem "brakeman"', '# gem "brakeman"'),
        ("ruby_llm_as_it_is", ASSISTANT, "chat.with_instructions", "chat.system"),
        ("ruby_llm_as_it_is", ASSISTANT, "chat = RubyLLM.chat(", "chat = Nothing.new( # RubyLLM.chat("),
        ("openrouter", CONFIGURED, 'ENV.fetch("OPENROUTER_API_KEY", nil)', "KEY"),
        ("openrouter", CONFIGURED, "claude-sonnet", "claude-haiku"),
        ("no_secret", "README.md", "KEY=...", "KEY=sk-or-v1-" + "a1b2c3d4" * 4),
        ("tailwind", "app/assets/tailwind/application.css", "@import", "/* none */"),
        ("turbo", "app/javascript/application.js", "@hotwired/turbo-rails", "@rails/ujs"),
        ("stimulus", "app/views/conversations/show.html.erb", "follow", "somebody"),
        ("nothing_piled", "app/javascript/application.js", "import", "\n".join(["go()"] * 70)),
        ("nothing_piled", ASSISTANT, "class", "\n".join(f"a line, {n % 8}" for n in range(20)) + "\nclass"),
        ("tests", "test/models/message_test.rb", "assert", "nothing"),
        ("integration", "bin/ci", "bundle exec brakeman", "# bundle exec brakeman"),
        ("integration", "test/test_helper.rb", "SimpleCov.start", "# SimpleCov.start"),
        ("readme", "README.md", "## Setting up", "##"),
        ("docker", "compose.yaml", "OPENROUTER_API_KEY", "SOME_KEY"),
    ],
)
def test_what_each_proof_is_about(
    proofs: ModuleType, app: Path, proof: str, path: str, old: str, new: str
) -> None:
    assert share(proofs, proof, app) == 1
    text = (app / path).read_text()
    assert old in text
    (app / path).write_text(text.replace(old, new))
    assert share(proofs, proof, app) < 1


@pytest.mark.parametrize(
    ("proof", "path", "text"),
    [
        ("no_secret", ".env.example", "OPENROUTER_API_KEY=sk-or-v1-your-key-here-and-nowhere-else\n"),
        ("no_secret", ".env.example", f"OPENROUTER_API_KEY=sk-or-v1-{'x' * 40}\n"),
        ("no_secret", "node_modules/thing/README.md", "sk-or-v1-" + "a1b2c3d4" * 4),
        (
            "ruby_llm_as_it_is",
            "app/jobs/a.rb",
            f"def a\n  {CHAT}end\n\ndef b(chat)\n  chat.broadcast_append\nend\n",
        ),
        (
            "tests",
            "app/models/application_record.rb",
            "class ApplicationRecord\n  primary_abstract_class\n  a\nend\n",
        ),
        ("tests", "app/helpers/chats_helper.rb", "module ChatsHelper\nend\n"),
        ("nothing_piled", "app/views/a.html.erb", "<div>\n</div>\n" * 40),
    ],
)
def test_what_is_nothing_to_complain_of(
    proofs: ModuleType, app: Path, proof: str, path: str, text: str
) -> None:
    (app / path).parent.mkdir(parents=True, exist_ok=True)
    (app / path).write_text(text)
    assert share(proofs, proof, app) == 1


def test_integration_may_be_in_ruby(proofs: ModuleType, app: Path) -> None:
    """As Rails generates it since 8.1."""
    workflow = app / ".github" / "workflows" / "ci.yml"
    steps = ("bin/rubocop", "bin/brakeman --quiet", "bin/bundler-audit", "bin/rails test")
    (app / "config" / "ci.rb").write_text("".join(f'step "Step", "{step}"\n' for step in steps))
    workflow.unlink()
    (app / "bin" / "ci").unlink()
    assert share(proofs, "integration", app) == 1


def test_what_was_imagined_is_found_out(proofs: ModuleType, app: Path) -> None:
    source = (TASK / "broken" / "hallucinated" / "solve.sh").read_text()
    (app / ASSISTANT).write_text(source.split("<<'RUBY'\n")[1].split("\nRUBY")[0] + "\n")
    (said,) = proofs.ruby_llm_as_it_is(proofs.Application(app))
    assert all(word in said for word in ("'Client'", "'user'", "'text'"))


# --- with Ruby, and without ----------------------------------------------------------------------

PASSED = "3 runs, 5 assertions, 0 failures, 0 errors, 0 skips"
FAILED = "3 runs, 5 assertions, 1 failures, 0 errors, 0 skips"
NONE = "0 runs, 0 assertions, 0 failures, 0 errors, 0 skips"


def checked(app: Path, ruby: str) -> tuple[dict[str, float], str]:
    """What the checks say where this shell script is Ruby ("": there is none)."""
    (programs := app.parent / "programs").mkdir()
    (verifier := app.parent / "verifier").mkdir()
    if ruby:
        (programs / "ruby").write_text(f"#!/bin/sh\n{ruby}\n")
        (programs / "ruby").chmod(0o755)
    done = subprocess.run(
        [sys.executable, "-I", "-B", str(TASK / "tests" / "check.py"), str(app), str(verifier)],
        env={"PATH": str(programs)},
        capture_output=True,
        text=True,
        check=True,
    )
    return json.loads((verifier / "reward.json").read_text()), done.stdout


def a_ruby(gems: int = 0, syntax: int = 0, bundle: int = 0, said: str = PASSED) -> str:
    return f"""case "$*" in
  -v) echo ruby ;;
  *'gem "rails"'*|*"gem 'rails'"*) exit {gems} ;;
  *InstructionSequence*) exit {syntax} ;;
  *"bundle check"*) exit {bundle} ;;
  "bin/rails test") echo "{said}" ;;
esac"""


@pytest.mark.parametrize(
    ("ruby", "scores", "said"),
    [
        ("", {}, "there is no Ruby here"),
        (a_ruby(gems=1), {}, "gems rails and ruby_llm are not installed"),
        (a_ruby(), {"every_file_is_ruby": 1, "the_tests_pass": 1}, ""),
        (a_ruby(syntax=1), {"every_file_is_ruby": 0, "the_tests_pass": 1}, ""),
        (a_ruby(said=FAILED), {"every_file_is_ruby": 1, "the_tests_pass": 0}, "1 failures"),
        (a_ruby(said=NONE), {"every_file_is_ruby": 1, "the_tests_pass": 0}, "0 runs"),
        (a_ruby(bundle=1), {"every_file_is_ruby": 1}, "its tests were not run"),
    ],
)
def test_runtime_proofs_are_made_where_ruby_is(
    app: Path, ruby: str, scores: dict[str, float], said: str
) -> None:
    found, output = checked(app, ruby)
    static = {"reward", *(name for name in found if name not in ("every_file_is_ruby", "the_tests_pass"))}
    assert len(static) == 15
    runtime = {name: score for name, score in found.items() if name not in static}
    assert runtime == scores
    assert said in output
    assert found["reward"] == pytest.approx((14 + sum(runtime.values())) / (14 + len(runtime)), abs=1e-6)
    assert ("runtime proofs were not made" in output) == (not runtime)
