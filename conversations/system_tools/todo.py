"""What the agent means to do, one list for each conversation."""

from collections.abc import Mapping
from typing import Any

from django.utils import timezone

from conversations.models import TodoItem
from conversations.system_tools.base import Caller, SystemTool, ToolFailed, schema

ITEMS_MAX = 200
_ITEM = {"type": "string", "minLength": 1, "maxLength": 1000, "description": "what is to be done"}
_ID = {"type": "integer", "description": "the item's number"}
_PRIORITY = {"type": "string", "enum": list(TodoItem.Priority.values)}


def _add(caller: Caller, arguments: Mapping[str, Any]) -> str:
    items = TodoItem.objects.filter(conversation=caller.conversation_id)
    if items.count() >= ITEMS_MAX:
        raise ToolFailed(f"The list has {ITEMS_MAX} items, the most it can hold. Delete some first.")
    item = TodoItem.objects.create(
        conversation_id=caller.conversation_id,
        item=arguments["item"],
        priority=arguments.get("priority", TodoItem.Priority.MEDIUM),
    )
    return f"Added {_line(item)}"


def _list(caller: Caller, arguments: Mapping[str, Any]) -> str:
    items = TodoItem.objects.filter(conversation=caller.conversation_id)
    return "\n".join(map(_line, items)) or "The list is empty."


def _complete(caller: Caller, arguments: Mapping[str, Any]) -> str:
    item = _find(caller, arguments["id"])
    item.completed_at = item.completed_at or timezone.now()
    item.save(update_fields=["completed_at"])
    return f"Completed {_line(item)}"


def _update(caller: Caller, arguments: Mapping[str, Any]) -> str:
    item = _find(caller, arguments["id"])
    item.item = arguments["item"]
    item.save(update_fields=["item"])
    return f"Updated {_line(item)}"


def _delete(caller: Caller, arguments: Mapping[str, Any]) -> str:
    item = _find(caller, arguments["id"])
    line = _line(item)
    item.delete()
    return f"Deleted {line}"


def _clear(caller: Caller, arguments: Mapping[str, Any]) -> str:
    number, _ = TodoItem.objects.filter(conversation=caller.conversation_id).delete()
    return f"Deleted {number} item{'' if number == 1 else 's'}. The list is empty."


def _find(caller: Caller, item_id: int) -> TodoItem:
    item = TodoItem.objects.filter(conversation=caller.conversation_id, pk=item_id).first()
    if item is None:
        raise ToolFailed(f"There is no item {item_id}. todo_list shows the items with their numbers.")
    return item


def _line(item: TodoItem) -> str:
    return f"[{'x' if item.completed_at else ' '}] {item.pk}: {item.item} ({item.priority})"


TOOLS = (
    SystemTool(
        name="todo_add",
        description="Add an item to the to-do list of this conversation.",
        parameters=schema("item", item=_ITEM, priority=_PRIORITY),
        call=_add,
    ),
    SystemTool(
        name="todo_list",
        description="Show the to-do list of this conversation, with the number of each item.",
        parameters=schema(),
        call=_list,
        is_idempotent=True,
    ),
    SystemTool(
        name="todo_complete",
        description="Mark an item of the to-do list as done.",
        parameters=schema("id", id=_ID),
        call=_complete,
        is_idempotent=True,
    ),
    SystemTool(
        name="todo_update",
        description="Change the text of an item of the to-do list.",
        parameters=schema("id", "item", id=_ID, item=_ITEM),
        call=_update,
        is_idempotent=True,
    ),
    SystemTool(
        name="todo_delete",
        description="Remove an item from the to-do list.",
        parameters=schema("id", id=_ID),
        call=_delete,
    ),
    SystemTool(
        name="todo_clear",
        description="Remove every item from the to-do list.",
        parameters=schema(),
        call=_clear,
        is_idempotent=True,
    ),
)
