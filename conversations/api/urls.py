from django.urls import path

from conversations.api import agents, answers, conversations, messages, prompts, runs, snapshots, tools, waits

urlpatterns = [
    path("agents", agents.AgentsView.as_view(), name="agents"),
    path("agents/<int:pk>", agents.AgentView.as_view()),
    path("agents/<int:pk>/conversations", conversations.AgentConversationsView.as_view()),
    path("system-prompts", prompts.PromptsView.as_view()),
    path("system-prompts/<int:pk>", prompts.PromptView.as_view()),
    path("system-prompts/<int:pk>/preview", prompts.PreviewView.as_view()),
    path("tools", tools.ToolsView.as_view()),
    path("tools/<int:pk>", tools.ToolView.as_view()),
    path("waits", waits.WaitsView.as_view()),
    path("conversations", conversations.ConversationsView.as_view()),
    path("conversations/<int:pk>", conversations.ConversationView.as_view(), name="conversation"),
    path("conversations/<int:pk>/messages", messages.MessagesView.as_view()),
    path("conversations/<int:pk>/status", messages.StatusView.as_view()),
    path("conversations/<int:pk>/tool-results", answers.ToolResultsView.as_view()),
    path("conversations/<int:pk>/stop", messages.StopView.as_view()),
    path("conversations/<int:pk>/runs", runs.ConversationRunsView.as_view()),
    path("runs/<int:pk>", runs.RunView.as_view()),
    path("runs/<int:pk>/retry", runs.RetryView.as_view()),
    path("runs/<int:pk>/approve", answers.ApproveView.as_view()),
    path("snapshots/<int:pk>", snapshots.SnapshotView.as_view()),
    path("snapshots/<int:pk>/diff/<int:other>", snapshots.DifferencesView.as_view()),
]
