RubyLLM.configure do |config|
  config.openrouter_api_key = ENV.fetch("OPENROUTER_API_KEY", nil)
  config.default_model = ENV.fetch("CHAT_MODEL", "anthropic/claude-sonnet-5")
  config.request_timeout = 120
end
