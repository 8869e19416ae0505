# Asks the model for the next message of a conversation.
class Assistant
  INSTRUCTIONS = "You are a helpful assistant. Answer in plain text, and no longer than the question deserves."

  # Messages as they were said, the last of them the question. What fails becomes a message too.
  def answer(messages)
    Message.new(role: "assistant", content: chat(messages).complete.content)
  rescue RubyLLM::Error, RubyLLM::ConfigurationError, Faraday::Error => error
    Rails.logger.warn("No answer: #{error.class}: #{error.message}")
    Message.new(role: "error", content: "The model did not answer. Please try again.")
  end

  private

  def chat(messages)
    model = RubyLLM.config.default_model
    chat = RubyLLM.chat(model: model, provider: :openrouter, assume_model_exists: true)
    chat.with_instructions(INSTRUCTIONS)
    messages.each { |message| chat.add_message(role: message.role.to_sym, content: message.content) }
    chat
  end
end
