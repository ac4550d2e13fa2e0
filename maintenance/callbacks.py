"""What a batch calls when it ends: job functions with arguments, kept in the batch until they become jobs.

Kept as `{function, arguments, queue, tags, job_id}`. `job_id` is the job that it became: so each is called once.
"""

import inspect
import logging
from typing import Any, Literal

from maintenance.declarations import Call, function_named
from maintenance.errors import Invalid
from maintenance.models import Batch
from maintenance.tables import Queue

logger = logging.getLogger(__name__)

Slot = Literal["then", "catch", "finally"]


def kept(call: Call | None) -> dict[str, Any] | None:
    """The call as the batch keeps it. Raises Invalid for one that could not be made, which only the end would show."""
    if call is None:
        return None
    function = call.function
    arguments = {**call.arguments, "batch_id": ""}
    try:
        inspect.signature(function.function).bind(**arguments)
    except TypeError as error:
        raise Invalid(f"{function.name} cannot be called back with {', '.join(arguments)}: {error}.") from error
    if function.delay or function.moment or function.unique_key or function.concurrency_key or function.job_id:
        raise Invalid(f"{function.name}: of a call back, only queue and tags can be varied.")
    return {
        "function": function.name,
        "arguments": dict(call.arguments),
        "queue": function.queue.value,
        "tags": list(function.tags),
        "job_id": "",
    }


def make(batch: Batch, slot: Slot) -> None:
    """Make the job of a call in the caller's transaction, unless it was made before; its id is noted in the call."""
    call: dict[str, Any] | None = getattr(batch, f"{slot}_call")
    if call is None or call["job_id"]:
        return
    function = function_named(call["function"])
    if function is None:
        logger.error("batch %s calls back %s, which there is not any more", batch.pk, call["function"])
        return
    varied = function.on(Queue(call["queue"])).tagged(*call["tags"], f"batch:{batch.pk}").by(batch.created_by)
    # A job with a key is written in this transaction, whatever the driver.
    varied = varied.keyed(f"batch:{batch.pk}:{slot}")
    call["job_id"] = varied.enqueue(**{**call["arguments"], "batch_id": batch.pk}).pk
