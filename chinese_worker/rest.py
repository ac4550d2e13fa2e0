"""Settings of Django REST framework and of the OpenAPI schema."""

from chinese_worker import env

REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": [
        "maintenance.access.authentication.TokenAuthentication",
        "maintenance.access.authentication.SessionAuthentication",
    ],
    "DEFAULT_PERMISSION_CLASSES": [
        "rest_framework.permissions.IsAuthenticated",
        "maintenance.access.permissions.HasScope",
    ],
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "DEFAULT_PARSER_CLASSES": ["maintenance.http.JSONBody"],
    "DEFAULT_METADATA_CLASS": None,
    "DEFAULT_PAGINATION_CLASS": "maintenance.http.Pages",
    "DEFAULT_THROTTLE_CLASSES": ["maintenance.http.UserThrottle"],
    "DEFAULT_THROTTLE_RATES": {
        "login": env.text("THROTTLE_LOGIN", "5/min"),
        "user": env.text("THROTTLE_USER", "600/min"),
        "runs": env.text("THROTTLE_RUNS", "30/min"),
    },
    "NUM_PROXIES": 1 if env.flag("TRUST_PROXY") else 0,  # without a proxy, X-Forwarded-For is the client's own word
    "EXCEPTION_HANDLER": "maintenance.http.exception_handler",
    "DEFAULT_SCHEMA_CLASS": "drf_spectacular.openapi.AutoSchema",
    "UNAUTHENTICATED_USER": None,
    "TEST_REQUEST_DEFAULT_FORMAT": "json",
}
SPECTACULAR_SETTINGS = {
    "TITLE": env.text("APP_NAME", "Chinese Worker"),
    "DESCRIPTION": "Run AI agents on your own machine.",
    "VERSION": "1",
    "SERVE_INCLUDE_SCHEMA": False,
    "SWAGGER_UI_DIST": "SIDECAR",
    "SWAGGER_UI_FAVICON_HREF": "SIDECAR",
    "COMPONENT_SPLIT_REQUEST": True,
    "SCHEMA_PATH_PREFIX": "/api/v1/",
    "POSTPROCESSING_HOOKS": [
        "drf_spectacular.hooks.postprocess_schema_enums",
        "chinese_worker.openapi.complete",
    ],
    "ENUM_NAME_OVERRIDES": {
        "AgentStatus": "conversations.models.Agent.Status",
        "BackendStatus": "models_registry.api.STATUSES",
        "ConversationStatus": "conversations.models.Conversation.Status",
        "PullStatus": "models_registry.models.Pull.Status",
        "MessageStatus": "conversations.models.Message.Status",
        "RunStatus": "conversations.models.Run.Status",
        "ToolCallStatus": "conversations.models.ToolCall.Status",
        "ToolCallKind": "conversations.models.ToolCall.Kind",
        "ToolKind": "conversations.models.Tool.Kind",
        "WireStatus": "conversations.status.WIRE",
        "ConversationWaitingFor": "conversations.api.conversations.WAITING_FOR",
        "RunWaitingFor": "conversations.api.runs.WAITING_FOR",
        "WaitingFor": "conversations.api.waits.WAITING_FOR",
    },
}
