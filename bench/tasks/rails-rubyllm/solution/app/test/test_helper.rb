require "simplecov"
SimpleCov.start "rails"

ENV["RAILS_ENV"] ||= "test"
require_relative "../config/environment"
require "rails/test_help"
require "webmock/minitest"

# In the place of OpenRouter; nothing else can be reached.
module StandInModel
  ENDPOINT = "https://openrouter.ai/api/v1/chat/completions"

  def setup
    super
    Rails.cache.clear
    RubyLLM.config.openrouter_api_key = "none"
    RubyLLM.config.max_retries = 0
  end

  def model_answers(content)
    reply = { model: "stand-in", choices: [ { message: { role: "assistant", content: content } } ] }
    stub_request(:post, ENDPOINT)
      .to_return(status: 200, body: reply.to_json, headers: { "Content-Type" => "application/json" })
  end

  def model_fails
    stub_request(:post, ENDPOINT).to_return(status: 500, body: "{}")
  end

  def assert_model_was_sent(expected)
    assert_requested(:post, ENDPOINT) do |request|
      sent = JSON.parse(request.body)["messages"].reject { |message| %w[system developer].include?(message["role"]) }
      sent.map { |message| [ message["role"], message["content"] ] } == expected
    end
  end
end

ActiveSupport::TestCase.include StandInModel
