"""Small drawings beside words, never instead of them: screen readers leave them out."""

from markupsafe import Markup

_PATHS = {
    "healthy": "M3 8.5l3.2 3.2L13 5",
    "degraded": "M8 3v6M8 12v.5",
    "failing": "M4 4l8 8M12 4l-8 8",
    "paused": "M5.5 4v8M10.5 4v8",
    "idle": "M4 8h8",
    "unknown": "M5.8 6a2.2 2.2 0 1 1 3.4 1.8c-.8.5-1.2.9-1.2 1.7M8 12v.1",
    "disabled": "M8 3v5M5 4.6a5 5 0 1 0 6 0",
    "plus": "M8 3v10M3 8h10",
    "search": "M7 3a4 4 0 1 0 0 8a4 4 0 0 0 0-8M10 10l3.5 3.5",
    "brand": "M2 4l6-2.5L14 4v4.5c0 3-2.6 5-6 6.5c-3.4-1.5-6-3.5-6-6.5zM5 8l2.2 2.2L11 6",
}


def icon(name: str) -> Markup:
    """Draw one."""
    return Markup('<svg class="icon" viewBox="0 0 16 16" aria-hidden="true"><path d="{}"/></svg>').format(
        _PATHS[name]
    )
