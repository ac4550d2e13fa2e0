"""What the admin has of agents and conversations, and where the ledger's tags lead to."""

from django.contrib import admin

from conversations.console.agents import AgentAdmin, SystemPromptAdmin
from conversations.console.conversations import ConversationAdmin, RunAdmin
from conversations.console.tools import ToolAdmin
from conversations.models import Agent, Conversation, Run, SystemPrompt, Tool
from maintenance.console import links

admin.site.register(Agent, AgentAdmin)
admin.site.register(SystemPrompt, SystemPromptAdmin)
admin.site.register(Tool, ToolAdmin)
admin.site.register(Conversation, ConversationAdmin)
admin.site.register(Run, RunAdmin)

links.PAGES.update(
    {
        "conversation": "admin:conversations_conversation_change",
        "run": "admin:conversations_run_change",
        "tool": "admin:conversations_tool_change",
        "agent": "admin:conversations_agent_change",
        "user": "admin:auth_user_change",
    }
)
