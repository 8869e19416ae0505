require "test_helper"

class MessagesControllerTest < ActionDispatch::IntegrationTest
  test "question and answer come as a stream, and stay" do
    model_answers "the answer"
    say "the question"
    assert_equal Mime[:turbo_stream], response.media_type
    assert_select "turbo-stream[action=append][target=messages]"
    get root_path
    assert_equal [ "the question", "the answer" ], css_select("#messages article").map { |node| node.text.strip }
  end

  test "the model sees what was said before" do
    model_answers "one"
    say "first"
    say "second"
    assert_model_was_sent [ %w[user first], %w[assistant one], %w[user second] ]
  end

  test "a turn that fails says so and is forgotten" do
    model_fails
    say "lost"
    assert_match "did not answer", response.body
    get root_path
    assert_select "#messages article", 0
  end

  test "an empty message is none" do
    say " "
    assert_response :unprocessable_entity
  end

  private

  def say(content)
    post messages_path, params: { message: { content: content } }, as: :turbo_stream
  end
end
