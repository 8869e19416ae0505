"""What RubyLLM has, written down from its source: every method of a release from 1.0 to 1.16, or of the
branch after it. A call is wrong only if none of them would take it: `with_instructions(text, replace: true)`
was right once, `append: true` is now. What a chat does not need is open: it takes anything."""

from bench.api_description import Api
from bench.api_ruby import ruby_api

ANYTHING = "(*given, **options)"


def opened(names: str, gives: str = "") -> list[str]:
    return [f"{name}{ANYTHING}{gives}" for name in names.split()]


# What tests put in the gem's place: Minitest's stub, Mocha's words, and Ruby's own.
STAND_INS = opened(
    "stub stubs expects unstub any_instance stub_any_instance singleton_class "
    "define_singleton_method instance_method const_get const_defined? constants class_eval "
    "module_eval include prepend define_method"
)

_CONFIGURED = (
    "openai_api_key openai_api_base openai_organization_id openai_project_id "
    "openai_use_system_role anthropic_api_key anthropic_api_base gemini_api_key gemini_api_base "
    "vertexai_project_id vertexai_location vertexai_service_account_key deepseek_api_key "
    "deepseek_api_base perplexity_api_key perplexity_api_base bedrock_api_key "
    "bedrock_secret_key bedrock_region bedrock_session_token bedrock_api_base "
    "bedrock_credential_provider openrouter_api_key openrouter_api_base openrouter_app_url "
    "openrouter_app_name ollama_api_base ollama_api_key ollama_cloud_api_base "
    "ollama_cloud_api_key gpustack_api_base gpustack_api_key mistral_api_key mistral_api_base "
    "xai_api_key xai_api_base azure_api_base azure_api_key azure_ai_auth_token cohere_api_key "
    "cohere_api_base deepgram_api_key deepgram_api_base elevenlabs_api_key elevenlabs_api_base "
    "default_model default_embedding_model default_moderation_model default_image_model "
    "default_transcription_model default_speech_model default_ocr_model default_video_model "
    "video_generation_timeout video_generation_poll_interval model_registry_file "
    "model_registry_class model_registry_source model_registry_store use_new_acts_as "
    "request_timeout max_retries retry_interval retry_backoff_factor retry_interval_randomness "
    "retry_max_interval http_proxy faraday_adapter tool_concurrency auto_upload_large_files "
    "instrumenter deprecation_behavior logger log_file log_level log_stream_debug "
    "log_regexp_timeout log_assume_model_exists"
).split()

_MESSAGE = [
    *(
        "role content attachments model model_id model_info tool_calls tool_call_id tool_call? "
        "tool_result? tool_results raw raw_content thinking citations finish_reason "
        "server_tool_calls input_tokens output_tokens cached_tokens cache_creation_tokens "
        "cache_read_tokens cache_write_tokens reasoning_tokens thinking_tokens thinking_signature "
        "tokens parsed stopped? max_tokens? tool_call_stop? content_filtered? cache_until_here? "
        "cache_until_here! conversation to_h"
    ).split(),
    *opened("cost new"),
    "content=(value)",
]

_CHAINED = (
    "with_tools with_server_tools with_tool_options with_fallbacks with_max_output_tokens "
    "with_thinking with_citations with_caching with_compaction with_end_user "
    "with_provider_options with_headers with_params on_tool_call on_tool_result "
    "before_tool_call after_tool_result before_fallback after_fallback before_request "
    "reset_messages! cancel! cache_until_here!"
)

_OF_A_CHAT = [
    *opened("new each"),
    "ask(message = nil, with: nil) {Chunk} -> Message",
    "say(message = nil, with: nil) {Chunk} -> Message",
    "complete {Chunk} -> Message",
    "generate {Chunk} -> Message",
    "step {Chunk}",
    *opened("ask_later run_tools count_tokens render approve! deny!"),
    "add_message(message = nil, **attributes) -> Message",
    "messages -> [Message]",
    "messages=(value)",
    "with_instructions(text, append: false, replace: false) -> Chat",
    "with_tool(tool, **options) -> Chat",
    "with_model(id, provider: nil, protocol: nil, assume_exists: false, assume_model_exists: false) -> Chat",
    "with_temperature(value) -> Chat",
    "with_context(context) -> Chat",
    "with_schema(schema) -> Chat",
    "on_new_message -> Chat",
    "before_message -> Chat",
    "on_end_message {Message} -> Chat",
    "after_message {Message} -> Chat",
    *opened(_CHAINED, " -> Chat"),
    *(
        "model model= provider tools server_tools params provider_options headers schema "
        "concurrency caching compaction end_user fallbacks tokens cost complete? cancelled? "
        "awaiting_approval? pending_approvals"
    ).split(),
]

_OF_RUBYLLM = [
    "chat(model: nil, provider: nil, protocol: nil, assume_model_exists: false, context: nil) -> Chat",
    "configure {Configuration}",
    "config -> Configuration",
    "context {Configuration} -> Context",
    *opened(
        "embed embed_later moderate paint animate animate_later speak transcribe ocr rerank batch "
        "upload download cache workflow count_tokens render_prompt instrument models providers "
        "logger deprecator loader"
    ),
    "VERSION",
]

# Constants below RubyLLM of which nothing more is said.
_NAMED = (
    "Tool Agent Content Attachment Models Model Provider Providers Protocol Protocols Embedding "
    "Image ToolCall Tokens Thinking Moderation Transcription Speech Schema MCP Streaming "
    "StreamAccumulator Aliases Connection Utils MimeType ActiveRecord ActsAs Railtie "
    "Instrumentation Prompt Batch Cost Workflow Video Rerank OCR Parameter Citation Error "
    "ConfigurationError PromptNotFoundError InvalidRoleError InvalidToolChoiceError "
    "PendingToolCallsError ModelNotFoundError ModelRegistryError CancelledError "
    "UnsupportedFunctionsError UnsupportedServerToolError UnsupportedAttachmentError "
    "BadRequestError ForbiddenError ContextLengthExceededError ToolCallParseError "
    "OverloadedError PaymentRequiredError RateLimitError ServerError ServiceUnavailableError "
    "UnauthorizedError"
).split()


def rubyllm() -> Api:
    described = {
        "RubyLLM": _OF_RUBYLLM,
        "Chat": _OF_A_CHAT,
        "Context": [
            "chat(**options) -> Chat",
            "config -> Configuration",
            *opened("embed paint moderate new"),
        ],
        "Configuration": [*_CONFIGURED, *(f"{name}=(value)" for name in _CONFIGURED), *opened("new")],
        "Message": _MESSAGE,
        "Chunk": _MESSAGE,
        **{name: opened("new") for name in _NAMED},
    }
    return ruby_api("RubyLLM", {name: [*lines, *STAND_INS] for name, lines in described.items()})
