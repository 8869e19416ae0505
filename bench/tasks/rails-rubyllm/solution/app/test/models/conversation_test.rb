require "test_helper"

class ConversationTest < ActiveSupport::TestCase
  test "messages stay in order, each conversation for itself" do
    Conversation.find("a").add(Message.new(role: "user", content: "one"))
    Conversation.find("a").add(Message.new(role: "assistant", content: "two"))
    assert_equal %w[one two], Conversation.find("a").messages.map(&:content)
    assert_empty Conversation.find("b").messages
  end

  test "it can be cleared" do
    conversation = Conversation.find("a")
    conversation.add(Message.new(role: "user", content: "one"))
    conversation.clear
    assert_empty conversation.messages
  end
end
