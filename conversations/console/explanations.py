"""What to do about a run that did not end well, or that waits for its model."""

from conversations.models import Run
from maintenance.models import Job
from models_registry import loading

# By error code or, for an incomplete run, by its reason.
NEXT_STEPS = {
    "backend_unreachable": "See that the backend's server runs and that its address is right; then retry.",
    "backend_timeout": "The backend was too slow. Retry, or use a smaller model or a longer time limit.",
    "rate_limited": "The backend asks to slow down. Retry in a while.",
    "stream_ended": "The connection broke off. Retry; if it happens again, look at the backend's own log.",
    "model_not_found": "Choose a model that the backend has, in the agent's model config; then retry.",
    "unauthorized": "The backend refused the key. Put the right one into the settings and restart; then retry.",
    "bad_request": "The backend did not accept the request. Look at the agent's model config; then retry.",
    "backend_misconfigured": "Choose a configured backend for the agent, or complete its settings; then retry.",
    "prompt_error": "Mend the system prompt; then retry.",
    "agent_inactive": "Make the agent active; then retry.",
    "worker_lost": "The worker died while it answered. Retry; if it happens again, look at its memory limit.",
    "timeout": "It took longer than a turn may take. Retry, or use a faster model.",
    "memory_limit": "The worker used more memory than its pool may. Raise the pool's limit; then retry.",
    "poison": "Its worker died every time. Look at the attempts of its job before you retry.",
    "max_turns": "Raise the agent's turns per run, or retry to let it go on.",
    "max_tokens": "Raise max_tokens in the agent's model config, or retry.",
    "load_cancelled": "Somebody cancelled the job that loads its model. Retry, and the model is loaded again.",
    "context_window": "It no longer fits the model's window. Use a larger one, or start a new conversation.",
}
ELSE = "Look at the attempts of its job, mend the cause, then retry."


def next_step(run: Run) -> str:
    """One sentence, or nothing for a run that ended well or was stopped by somebody."""
    if run.status == Run.Status.INCOMPLETE:
        return NEXT_STEPS.get(run.reason, "")
    if run.status in (Run.Status.FAILED, Run.Status.EXPIRED):
        return NEXT_STEPS.get(run.error_code, ELSE)
    return _loading(run) if run.status == Run.Status.QUEUED else ""


def _loading(run: Run) -> str:
    load = loading.under_way_for(run.job_id)
    if load is None:
        return ""
    model = load.arguments["model"]
    if load.status == Job.Status.RUNNING:
        return f"Its model, {model}, is being loaded into memory, which can take minutes; it goes on by itself."
    return f"Its model, {model}, has to be loaded into memory, and the job {load.pk} that does so waits for a worker."
