require "test_helper"

class MessageTest < ActiveSupport::TestCase
  test "it knows who speaks" do
    assert_predicate Message.new(role: "user", content: "hi"), :user?
    assert_predicate Message.new(role: "error", content: "no"), :failed?
  end

  test "nothing, too much and unknown roles are refused" do
    assert_not Message.new(role: "user", content: " ").valid?
    assert_not Message.new(role: "user", content: "x" * (Message::MAX_CHARACTERS + 1)).valid?
    assert_not Message.new(role: "nobody", content: "hi").valid?
  end
end
