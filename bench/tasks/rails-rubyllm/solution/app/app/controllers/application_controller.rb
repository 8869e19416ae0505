class ApplicationController < ActionController::Base
  private

  def conversation
    @conversation ||= Conversation.find(session[:conversation_id] ||= SecureRandom.uuid)
  end
end
