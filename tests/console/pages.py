"""Addresses of the console's pages, for tests that walk all of them."""

from django.utils import timezone

from conversations.models import Agent, Conversation, Tool
from maintenance.models import ApiToken, AuditEntry, Job
from models_registry.models import BackendRecord, Model, Pull


def addresses(conversation: Conversation, job: Job, user_id: int) -> list[str]:
    """One of every kind of page that is looked at."""
    agent: Agent = conversation.agent
    prompt = agent.system_prompts.get()
    token = ApiToken.objects.create(user_id=user_id, name="laptop", digest="d", scopes=["read"])
    entry = AuditEntry.objects.create(actor_id=user_id, verb="job.retry", target="job:1", detail={"a": 1})
    tool = Tool.objects.create(
        user=agent.user, name="lookup", description="Look up.", url="https://shop.example/orders/{id}",
        parameters={"type": "object", "properties": {"id": {"type": "integer"}}},
    )  # fmt: skip
    agent.tools.add(tool)
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
        f"{base}/waiting/",
        f"{base}/queues/",
        f"{base}/queues/low/clear/",
        f"{base}/maintenance/apitoken/",
        f"{base}/maintenance/apitoken/{token.pk}/change/",
        f"{base}/maintenance/auditentry/",
        f"{base}/maintenance/auditentry/{entry.pk}/change/",
        *_of_ai(),
        f"{base}/conversations/agent/",
        f"{base}/conversations/agent/add/",
        f"{base}/conversations/agent/{agent.pk}/change/",
        f"{base}/conversations/agent/{agent.pk}/delete/",
        f"{base}/conversations/agent/{agent.pk}/history/",
        f"{base}/conversations/tool/",
        f"{base}/conversations/tool/add/",
        f"{base}/conversations/tool/{tool.pk}/change/",
        f"{base}/conversations/tool/{tool.pk}/delete/",
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


def _of_ai() -> list[str]:
    base, now = "/admin", timezone.now()
    backend = BackendRecord.objects.create(name="vllm", driver="fake", model="org/llama:7b", encrypted_key="x")
    Model.objects.create(
        backend="vllm", name="org/llama:7b", size_bytes=4_000_000_000, family="llama", parameter_size="7B",
        quantisation="Q4_0", context_length=8192, capabilities=["completion", "tools"], digest="sha256:0123456789ab",
        loaded=True, synced_at=now, modified_at=now,
    )  # fmt: skip
    pull = Pull.objects.create(backend="vllm", model="llama:7b", status="failed", error_code="disk_full", error="Full.")
    return [
        f"{base}/models_registry/backendrecord/",
        f"{base}/models_registry/backendrecord/add/",
        f"{base}/models_registry/backendrecord/{backend.pk}/change/",
        f"{base}/models_registry/backendrecord/{backend.pk}/delete/",
        f"{base}/models_registry/pull/",
        f"{base}/models_registry/pull/{pull.pk}/change/",
        f"{base}/models/",
        f"{base}/models/vllm/",
        f"{base}/models/vllm/delete/?model=org/llama:7b",
    ]
