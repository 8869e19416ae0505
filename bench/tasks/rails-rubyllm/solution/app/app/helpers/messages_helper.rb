module MessagesHelper
  def message_style(message)
    return "bg-stone-900 text-white" if message.user?

    message.failed? ? "bg-red-100 text-red-900" : "bg-white shadow-sm"
  end
end
