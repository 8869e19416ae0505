class Message
  include ActiveModel::Model
  include ActiveModel::Attributes

  ROLES = %w[user assistant error].freeze
  MAX_CHARACTERS = 20_000

  attribute :role, :string
  attribute :content, :string

  validates :role, inclusion: { in: ROLES }
  validates :content, presence: true, length: { maximum: MAX_CHARACTERS }

  def user? = role == "user"

  def failed? = role == "error"
end
