require "test_helper"

class AssistantTest < ActiveSupport::TestCase
  QUESTION = Message.new(role: "user", content: "What is new?")

  test "it answers with what the model says" do
    model_answers "Nothing."
    answer = Assistant.new.answer([ QUESTION ])
    assert_equal %w[assistant Nothing.], [ answer.role, answer.content ]
    assert_model_was_sent [ [ "user", "What is new?" ] ]
  end

  test "what fails is a message, and says nothing of the inside" do
    model_fails
    answer = Assistant.new.answer([ QUESTION ])
    assert_predicate answer, :failed?
    assert_no_match(/500/, answer.content)
  end
end
