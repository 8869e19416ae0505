require "test_helper"

class MessagesHelperTest < ActionView::TestCase
  test "every role has a look of its own" do
    styles = Message::ROLES.map { |role| message_style(Message.new(role: role, content: "x")) }
    assert_equal styles, styles.uniq
  end
end
