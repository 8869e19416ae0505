require_relative "boot"

require "rails"
require "active_model/railtie"
require "action_controller/railtie"
require "action_view/railtie"
require "rails/test_unit/railtie"

Bundler.require(*Rails.groups)

module Hotline
  # There is no database: a conversation lives in the cache, as long as its session.
  class Application < Rails::Application
    config.load_defaults 8.0
    config.cache_store = :file_store, Rails.root.join("tmp/cache/conversations")
  end
end
