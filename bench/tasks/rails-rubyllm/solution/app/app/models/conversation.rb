# The messages of one session, oldest first.
class Conversation
  LIFETIME = 12.hours

  attr_reader :id

  def self.find(id) = new(id)

  def initialize(id)
    @id = id
  end

  def messages
    rows.map { |row| Message.new(**row) }
  end

  def add(*added)
    kept = rows + added.map { |message| { role: message.role, content: message.content } }
    Rails.cache.write(key, kept, expires_in: LIFETIME)
  end

  def clear
    Rails.cache.delete(key)
  end

  private

  def rows = Rails.cache.read(key) || []

  def key = "conversation/#{id}"
end
