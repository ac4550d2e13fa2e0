"""A picture of a message as an answer to a browser, which is to show it and to do nothing else with it."""

from django.http import Http404, HttpResponse

from conversations import picture_files
from conversations.models import Message

# Names are never used again, so what a browser has of one stays true.
KEPT_SECONDS = 3600


def answer(message: Message, image_id: str) -> HttpResponse:
    """Its bytes under its real type. Raises Http404 where the message has no such picture, or its file is lost."""
    row = next((row for row in message.images if row["id"] == image_id), None)
    data = picture_files.data_of(row) if row else None
    if row is None or data is None:
        raise Http404
    return HttpResponse(
        data,
        content_type=row["media_type"],
        headers={
            "X-Content-Type-Options": "nosniff",
            "Content-Disposition": f'inline; filename="{row["path"].rpartition("/")[2]}"',
            "Content-Security-Policy": "default-src 'none'; sandbox",
            "Cache-Control": f"private, max-age={KEPT_SECONDS}",
        },
    )
