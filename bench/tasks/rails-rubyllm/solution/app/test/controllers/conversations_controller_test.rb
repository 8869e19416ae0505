require "test_helper"

class ConversationsControllerTest < ActionDispatch::IntegrationTest
  test "the page has a place for messages and a form" do
    get root_path
    assert_response :success
    assert_select "#messages[data-controller=follow]"
    assert_select "form#composer textarea"
  end

  test "a new conversation is empty" do
    model_answers "hello"
    post messages_path, params: { message: { content: "hi" } }, as: :turbo_stream
    delete conversation_path
    follow_redirect!
    assert_select "#messages article", 0
  end
end
