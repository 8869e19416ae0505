"""Ruby against the description of a gem. The table holds what an audit once got wrong, in both directions."""

from __future__ import annotations

import pytest

from bench.api_description import Api
from bench.api_ruby import read_ruby, ruby_api


@pytest.fixture(scope="module")
def api() -> Api:
    """RubyLLM, as far as a chat needs it."""
    return ruby_api(
        "RubyLLM",
        {
            "RubyLLM": [
                "chat(model: nil, provider: nil, assume_model_exists: false) -> Chat",
                "configure {Configuration}",
            ],
            "Configuration": ["openai_api_key=(value)", "openrouter_api_key=(value)"],
            "Chat": [
                "ask(message = nil, with: nil) {Chunk} -> Message",
                "complete {Chunk} -> Message",
                "add_message(message = nil, **attributes) -> Message",
                "with_instructions(text, replace: false) -> Chat",
                "messages -> [Message]",
            ],
            "Message": ["content", "role", "tool_calls"],
            "Chunk": ["content"],
            "Error": ["message"],
        },
    )


CHAT = "chat = RubyLLM.chat(model: MODEL)\n"


@pytest.mark.parametrize(
    "source",
    [
        CHAT + "response = chat.complete\nputs response.content\n",
        CHAT + 'chat.add_message(role: :user, content: "hello")\n',
        CHAT + "history.each { |m| chat.add_message role: m.role, content: m.content }\nchat.complete\n",
        CHAT + 'chat.ask "hello" do |chunk|\n  print chunk.content\nend\n',
        '@chat ||= RubyLLM.chat\n@chat.ask("a", with: file).content.text\n',
        "RubyLLM.chat\n  .with_instructions(PROMPT, replace: true)\n  .ask(question)\n  .content\n",
        "RubyLLM.chat(**options).ask(*words)\n",
        "RubyLLM.configure do |config|\n  config.openai_api_key = ENV['KEY']\nend\n",
        "begin\n  nil\nrescue RubyLLM::Error => e\n  puts e.whatever\nend\n",
        "# chat.user is nothing\nputs 'RubyLLM::Client.new'\n",
        "other.user(1).text\nchat.text\n",
        CHAT + "chat = something_else\nchat.user\n",
        CHAT + "response = chat.complete || nothing\n",
        f"def a\n  {CHAT}end\n\ndef b(chat)\n  chat.text\nend\n",
        f"def a\n  {CHAT}end\nchat.text\n",
        f"def a\n  {CHAT}  go do\n    1\n  end\nend\nchat.text\n",
        f"def a(x) = x\n{CHAT}def b\n  chat.text\nend\n",
        f"{CHAT}private def b\n  chat.text\nend\n",
        f"class A\n  def a\n    {CHAT}    if x\n      def b\n        chat.text\n      end\n    end\n  end\n",
    ],
)
def test_ruby_that_is_right_or_that_nobody_can_know(api: Api, source: str) -> None:
    assert [str(finding) for finding in read_ruby(source, "x.rb", api)] == []


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("client = RubyLLM::Client.new(key: 1)\n", "x.rb:1: RubyLLM has no 'Client'"),
        (CHAT + 'chat.user("hello")\n', "x.rb:2: Chat has no 'user'"),
        (CHAT + 'response = chat.ask("hello")\nrender response.text\n', "x.rb:3: Message has no 'text'"),
        (CHAT + "response = chat.complete\nresponse&.text\n", "x.rb:3: Message has no 'text'"),
        (CHAT + "chat.complete do |chunk|\n  print chunk.text\nend\n", "x.rb:3: Chunk has no 'text'"),
        ("RubyLLM.chat\n  .ask(question)\n  .text\n", "x.rb:3: Message has no 'text'"),
        ("RubyLLM.chat(name: 1)\n", "unexpected keyword argument 'name'"),
        (CHAT + "chat.with_instructions\n", "missing a required argument: 'text'"),
        (CHAT + "chat.ask a, b\n", "too many positional arguments"),
        ("RubyLLM.configure do |c|\n  c.api_key = 1\nend\n", "x.rb:2: Configuration has no 'api_key='"),
        ("foo(RubyLLM.chat.user(1)) if x\n", "Chat has no 'user'"),
        (f"def a\n  {CHAT}  if x\n    1\n  end\n  chat.text\nend\n", "x.rb:6: Chat has no 'text'"),
        (f"def a\n  @{CHAT}end\n\ndef b\n  @chat.text\nend\n", "x.rb:6: Chat has no 'text'"),
        ("CHAT = RubyLLM.chat\ndef b\n  CHAT.text\nend\n", "x.rb:3: Chat has no 'text'"),
        (f"{CHAT}def b(chat)\n  chat.text\nend\nchat.text\n", "x.rb:5: Chat has no 'text'"),
        (f"{CHAT}def a; chat = 1; end\nchat.text\n", "x.rb:3: Chat has no 'text'"),
    ],
)
def test_ruby_that_takes_what_is_not_there(api: Api, source: str, said: str) -> None:
    findings = [str(finding) for finding in read_ruby(source, "x.rb", api)]
    assert len(findings) == 1
    assert said in findings[0]


def test_a_description_must_be_one() -> None:
    with pytest.raises(ValueError, match="expected name"):
        ruby_api("Gem", {"Gem": ["two words"]})


def test_any_text_comes_to_an_end(api: Api) -> None:
    """Cut anywhere, a program is still read to its end."""
    source = (
        "x = RubyLLM.chat(a: [1, {b: 2}], *c) { |d| d.e f, 'g\" } do\n  .h(if i\n@j ||= RubyLLM::K.l m: :n\n"
    )
    for end in range(len(source)):
        read_ruby(source[:end], "x.rb", api)
        read_ruby(source[end:], "x.rb", api)
