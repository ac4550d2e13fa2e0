"""Addresses of the console's pages, for tests that walk all of them."""

from conversations.models import Agent, Conversation
from maintenance.models import ApiToken, AuditEntry, Job


def addresses(conversation: Conversation, job: Job, user_id: int) -> list[str]:
    """One of every kind of page that is looked at."""
    agent: Agent = conversation.agent
    prompt = agent.system_prompts.get()
    token = ApiToken.objects.create(user_id=user_id, name="laptop", digest="d", scopes=["read"])
    entry = AuditEntry.objects.create(actor_id=user_id, verb="job.retry", target="job:1", detail={"a": 1})
    base = "/admin"
    return [
        f"{base}/",
        f"{base}/password_change/",
        f"{base}/maintenance/job/",
        f"{base}/maintenance/job/?status__exact=failed&q=failed",
        f"{base}/maintenance/job/{job.pk}/change/",
        f"{base}/maintenance/job/failed/",
        f"{base}/maintenance/job/failed/flush/?hours=0",
        f"{base}/maintenance/job/all/retry/?status__exact=failed",
        f"{base}/maintenance/job/all/forget/?status__exact=failed",
        f"{base}/queues/",
        f"{base}/queues/low/clear/",
        f"{base}/maintenance/apitoken/",
        f"{base}/maintenance/apitoken/{token.pk}/change/",
        f"{base}/maintenance/auditentry/",
        f"{base}/maintenance/auditentry/{entry.pk}/change/",
        f"{base}/conversations/agent/",
        f"{base}/conversations/agent/add/",
        f"{base}/conversations/agent/{agent.pk}/change/",
        f"{base}/conversations/agent/{agent.pk}/delete/",
        f"{base}/conversations/agent/{agent.pk}/history/",
        f"{base}/conversations/systemprompt/",
        f"{base}/conversations/systemprompt/add/",
        f"{base}/conversations/systemprompt/{prompt.pk}/change/",
        f"{base}/conversations/conversation/",
        f"{base}/conversations/conversation/{conversation.pk}/change/",
        f"{base}/conversations/run/",
        f"{base}/auth/user/",
        f"{base}/auth/user/add/",
        f"{base}/auth/user/{user_id}/change/",
        f"{base}/auth/user/{user_id}/password/",
        f"{base}/auth/group/",
        f"{base}/auth/group/add/",
        f"{base}/django-rq/",
        *(f"{base}/django-rq/queues/0/{kind}" for kind in (
            "", "details/", "started/", "finished/", "failed/", "scheduled/", "deferred/",
        )),
        f"{base}/django-rq/workers/0/",
    ]  # fmt: skip
