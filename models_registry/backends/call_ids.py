"""Ids that tie a call and its answer together in a request, whatever ids the calls came with."""

from collections.abc import Iterator, Sequence

from models_registry.backends.base import ChatMessage, RequestedCall


class CallIds:
    """Ids for the calls of one request: the provider's own where they are there and unique, else ours."""

    def __init__(self) -> None:
        self._used: set[str] = set()
        self._open: list[tuple[RequestedCall, str]] = []

    def called(self, calls: Sequence[RequestedCall], number: int) -> list[str]:
        """The ids of the calls of the message with this number in the history."""
        given = list(self._unique(calls, number))
        self._open = list(zip(calls, given, strict=True))
        return given

    def _unique(self, calls: Sequence[RequestedCall], number: int) -> Iterator[str]:
        for place, call in enumerate(calls):
            call_id = call.provider_id
            if not call_id or call_id in self._used:
                call_id = f"call_{number}_{place}"
            self._used.add(call_id)
            yield call_id

    def answered(self, answer: ChatMessage) -> str:
        """The id under which the call that `answer` belongs to was sent; answers come in the order of the calls."""
        for matches in (_same_id, _same_name):
            for place, (call, call_id) in enumerate(self._open):
                if matches(call, answer):
                    del self._open[place]
                    return call_id
        return answer.tool_call_id


def _same_id(call: RequestedCall, answer: ChatMessage) -> bool:
    return bool(answer.tool_call_id) and call.provider_id == answer.tool_call_id


def _same_name(call: RequestedCall, answer: ChatMessage) -> bool:
    return not (call.provider_id and answer.tool_call_id) and call.name == answer.name
