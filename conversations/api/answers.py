"""Answering what a run waits for: a client's tool results, and approvals."""

import json
from typing import Any

from django.shortcuts import get_object_or_404
from drf_spectacular.utils import PolymorphicProxySerializer, extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from conversations import answers, status
from conversations.answers import REFUSED_BY_USER, Result
from conversations.api.lookup import conversation_of, runs_of
from conversations.api.messages import StatsSerializer, ToolRequestSerializer
from conversations.models import Run
from conversations.status import WIRE
from maintenance.access.authentication import user_of
from maintenance.access.idempotency import idempotent
from maintenance.http.errors import TooLarge
from maintenance.http.serializers import Body, JSONObject

RESULTS_MAX = 1000
OUTCOMES = ("ok", "failed", "refused")


class ResultBody(Body):
    """`output` is text, or any JSON, of which the model is given the text."""

    call_id = serializers.CharField(max_length=128)
    success = serializers.BooleanField()
    output = serializers.JSONField(required=False)
    error = serializers.CharField(required=False, allow_blank=True, trim_whitespace=False)
    outcome = serializers.ChoiceField(OUTCOMES, required=False)

    def validate(self, values: dict[str, Any]) -> dict[str, Any]:
        outcome = values.get("outcome")
        if outcome and values["success"] != (outcome == "ok"):
            raise serializers.ValidationError({"outcome": ["It contradicts success."]})
        return values


class ResultsBody(Body):
    results = ResultBody(many=True, allow_empty=False)


RESULTS = PolymorphicProxySerializer(
    component_name="ToolResults",
    serializers=[ResultBody, ResultsBody, ResultBody(many=True)],
    resource_type_field_name=None,
    many=False,
)


class SubmittedSerializer(serializers.Serializer[Any]):
    status = serializers.ChoiceField(WIRE)
    conversation_id = serializers.IntegerField()
    run_id = serializers.IntegerField()
    stats = StatsSerializer()
    pending = serializers.ListField(child=serializers.CharField(), help_text="ids of the calls still to be answered")


class ToolResultsView(APIView):
    @extend_schema(request=RESULTS, responses=SubmittedSerializer)
    @idempotent
    def post(self, request: Request, pk: int) -> Response:
        """Answer the calls that the run waits for: one, or a list of them. All are taken, or none.

        The run goes on when the last answer is in. The same answer again is as good as the first.
        """
        conversation = conversation_of(request, pk)
        run = answers.submit(conversation, [_result(given) for given in _given(request.data)])
        wire = status.wire(run)
        waits = answers.wanted(run) if wire == "waiting_for_tool" else []
        return Response({**_stand(run), "pending": [call.call_id for call in waits]})


def _given(data: Any) -> list[dict[str, Any]]:
    """The results that were sent, whichever way. Raises ValidationError, naming which one is wrong, and TooLarge."""
    many = data.get("results") if isinstance(data, dict) and "results" in data else data
    if isinstance(many, list) and len(many) > RESULTS_MAX:
        raise TooLarge(f"At most {RESULTS_MAX} results can be sent together.")
    body: Any
    if isinstance(data, list):
        body = ResultBody(data=data, many=True, allow_empty=False)
    else:
        body = ResultsBody(data=data) if many is not data else ResultBody(data=data)
    body.is_valid(raise_exception=True)
    if isinstance(data, list):
        return list(body.validated_data)
    return list(body.validated_data["results"]) if many is not data else [body.validated_data]


def _result(given: dict[str, Any]) -> Result:
    output = given.get("output", "")
    text = output if isinstance(output, str) else json.dumps(output, ensure_ascii=False)
    if given["success"]:
        return Result(call_id=given["call_id"], outcome="ok", text=text)
    error = given.get("error", "")
    refused = REFUSED_BY_USER in (text.strip(), error.strip())
    both = "\n".join(filter(None, dict.fromkeys((error, text))))
    return Result(call_id=given["call_id"], outcome=given.get("outcome") or _outcome(refused=refused), text=both)


def _outcome(*, refused: bool) -> str:
    return "refused" if refused else "failed"


def _stand(run: Run) -> dict[str, Any]:
    return {
        "status": status.wire(run),
        "conversation_id": run.conversation_id,
        "run_id": run.pk,
        "stats": status.stats(run),
    }


class DecisionBody(Body):
    call_id = serializers.CharField(max_length=128)
    decision = serializers.ChoiceField(["approve", "deny"])
    arguments = JSONObject(limit=1024 * 1024, required=False, help_text="with `approve`: in place of the model's")
    reason = serializers.CharField(
        max_length=2000, required=False, allow_blank=True, help_text="with `deny`: what the model is told"
    )

    def validate(self, values: dict[str, Any]) -> dict[str, Any]:
        if values["decision"] == "deny" and "arguments" in values:
            raise serializers.ValidationError({"arguments": ["They come with an approval only."]})
        if values["decision"] == "approve" and values.get("reason"):
            raise serializers.ValidationError({"reason": ["It comes with a denial only."]})
        return values


class DecidedSerializer(serializers.Serializer[Any]):
    status = serializers.ChoiceField(WIRE)
    conversation_id = serializers.IntegerField()
    run_id = serializers.IntegerField()
    stats = StatsSerializer()
    approvals = ToolRequestSerializer(many=True, help_text="the calls still to be decided")


class ApproveView(APIView):
    @extend_schema(request=DecisionBody, responses=DecidedSerializer)
    @idempotent
    def post(self, request: Request, pk: int) -> Response:
        """Allow or forbid a call that waits for it. The run goes on when the last is decided."""
        run = get_object_or_404(runs_of(request).select_related("conversation"), pk=pk)
        body = DecisionBody(data=request.data)
        body.is_valid(raise_exception=True)
        given, by = body.validated_data, user_of(request)
        if given["decision"] == "approve":
            run = answers.approve(run, given["call_id"], by=by, arguments=given.get("arguments"))
        else:
            run = answers.deny(run, given["call_id"], by=by, reason=given.get("reason", ""))
        waits = run.waiting_for == Run.WaitingFor.APPROVAL
        return Response({**_stand(run), "approvals": status.requests(answers.wanted(run)) if waits else []})
