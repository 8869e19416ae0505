class MessagesController < ApplicationController
  def create
    @question = Message.new(role: "user", content: params.expect(message: [ :content ])[:content])
    return head :unprocessable_entity unless @question.valid?

    @answer = Assistant.new.answer(conversation.messages + [ @question ])
    conversation.add(@question, @answer) unless @answer.failed?
    respond_to do |format|
      format.turbo_stream
      format.html { redirect_to root_path, status: :see_other }
    end
  end
end
