"""The images of messages, over the API."""

from typing import Any

from django.http import HttpResponse
from django.shortcuts import get_object_or_404
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.views import APIView

from conversations import picture_answers
from conversations.models import Message
from maintenance.access.authentication import user_of


class ImageView(APIView):
    def perform_content_negotiation(self, request: Request, force: bool = False) -> Any:
        """Errors are JSON, whatever else a browser asks for that wants a picture."""
        return super().perform_content_negotiation(request, force=True)

    @extend_schema(responses={(200, "image/*"): OpenApiTypes.BINARY})
    def get(self, request: Request, pk: int, message_id: int, image_id: str) -> HttpResponse:
        """The bytes of an image, under the type that it really has. Messages say where their images are."""
        own = Message.objects.filter(conversation__user=user_of(request), conversation=pk)
        return picture_answers.answer(get_object_or_404(own, pk=message_id), image_id)
