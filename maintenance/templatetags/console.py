"""What console pages show in one way only: times, durations, statuses, icons."""

from datetime import datetime, timedelta

from django import template
from django.templatetags.static import static
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString

register = template.Library()

NOTHING = "–"
UNITS = (("d", 86_400), ("h", 3_600), ("min", 60), ("s", 1))


def span(seconds: float) -> str:
    """One or two units, as much as a reader needs: `0.8 s`, `12 s`, `3 min 4 s`, `2 d 5 h`."""
    if seconds < 0.0995:
        return f"{max(seconds, 0) * 1000:.0f} ms"
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    left = round(seconds)
    parts = []
    for unit, size in UNITS:
        count, left = divmod(left, size)
        if count:
            parts.append(f"{count} {unit}")
        elif parts:
            break
    return " ".join(parts[:2])


@register.filter
def duration(value: float | timedelta | None) -> str:
    """Seconds or a timedelta in words; a dash where there is none."""
    if value is None:
        return NOTHING
    return span(value.total_seconds() if isinstance(value, timedelta) else value)


def relative(moment: datetime) -> str:
    """`now`, `4 min ago`, `in 2 h`: one unit, rounded down."""
    seconds = (timezone.now() - moment).total_seconds()
    for unit, size in UNITS:
        if abs(seconds) >= size:
            text = f"{int(abs(seconds) // size)} {unit}"
            return f"{text} ago" if seconds > 0 else f"in {text}"
    return "now"


@register.filter
def ago(moment: datetime | None) -> str | SafeString:
    """Relative time. The page's script keeps it current and puts the exact local time on hover."""
    if moment is None:
        return NOTHING
    exact = timezone.localtime(moment).strftime("%Y-%m-%d %H:%M:%S %Z")
    return format_html('<time datetime="{}" title="{}" data-ago>{}</time>', moment.isoformat(), exact, relative(moment))


@register.filter
def grouped(number: int) -> str:
    """`128,000`."""
    return f"{number:,}"


@register.filter
def badge(status: str) -> str | SafeString:
    """A status as a pill, coloured by the style sheet through its class."""
    if not status:
        return NOTHING
    return format_html('<span class="badge badge-{}">{}</span>', status, status.replace("_", " "))


@register.simple_tag
def icon(name: str) -> SafeString:
    """A picture of the sprite, for the eye only."""
    return format_html(
        '<svg class="icon" aria-hidden="true" focusable="false"><use href="{}#{}"></use></svg>',
        static("console/icons.svg"),
        name,
    )
