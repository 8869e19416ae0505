#!/usr/bin/env bash
# One controller, one view with its own style and script, no tests.
set -eu
HOTSEAT_SOLUTION="${HOTSEAT_SOLUTION:-/solution}/../../solution"
export HOTSEAT_SOLUTION
bash "$HOTSEAT_SOLUTION/solve.sh"
rm -r test app/javascript/controllers app/models app/services app/helpers app/views/messages app/views/layouts/_header.html.erb
rm app/views/conversations/_composer.html.erb app/controllers/messages_controller.rb app/controllers/application_controller.rb
printf 'import "@hotwired/turbo-rails"\n' > app/javascript/application.js
cat > config/routes.rb <<'RUBY'
Rails.application.routes.draw do
  root "conversations#show"
  post "/", to: "conversations#show"
end
RUBY
cat > app/controllers/conversations_controller.rb <<'RUBY'
class ConversationsController < ActionController::Base
  def show
    session[:messages] ||= []
    return unless request.post?

    session[:messages] << { "role" => "user", "content" => params[:content] }
    chat = RubyLLM.chat(provider: :openrouter, assume_model_exists: true)
    session[:messages].each { |message| chat.add_message(role: message["role"].to_sym, content: message["content"]) }
    session[:messages] << { "role" => "assistant", "content" => chat.complete.content }
  end
end
RUBY
sed -i '/layouts\/header/d' app/views/layouts/application.html.erb
cat > app/views/conversations/show.html.erb <<'ERB'
<style>
  main { max-width: 40rem; margin: auto; }
  .user { text-align: right; }
  .assistant { text-align: left; }
  .user p { background: #111; color: #fff; }
  .assistant p { background: #fff; color: #111; }
  textarea { width: 100%; }
</style>
<main>
  <% session[:messages].each do |message| %>
    <div class="<%= message["role"] %>"><p><%= message["content"] %></p></div>
  <% end %>
  <form method="post" action="/">
    <input type="hidden" name="authenticity_token" value="<%= form_authenticity_token %>">
    <textarea name="content"></textarea>
    <button>Send</button>
  </form>
</main>
<script>
  const area = document.querySelector("textarea")
  area.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && !event.shiftKey) {
      event.preventDefault()
      area.form.submit()
    }
  })
</script>
ERB
