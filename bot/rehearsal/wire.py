"""Message payloads as Discord really sends them, where SimCord's differ, and as the page needs them. Pure functions on JSON.

Not here: what a message is (``backend``), the sockets that carry it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from simcord.components import walk_components

MEDIA_KEYS = ("file", "media")


def hide_used_attachments(payload: Any) -> Any:
    """Take out of ``attachments`` what an embed or a component shows, in every message inside ``payload``.

    Discord does so on purpose (discord-api-docs#8279, #1340): a bot that looks for a clip's file in ``message.attachments``
    does not find it when the clip was posted inside a Components V2 ``File``.
    """
    if isinstance(payload, list):
        return [hide_used_attachments(item) for item in payload]
    if not isinstance(payload, dict):
        return payload
    shaped = {key: hide_used_attachments(value) if isinstance(value, dict | list) else value for key, value in payload.items()}
    if shaped.get("attachments") and "embeds" in shaped and "components" in shaped:
        used = set(_urls_shown(shaped))
        shaped["attachments"] = [attachment for attachment in shaped["attachments"] if attachment["url"] not in used]
    return shaped


def _urls_shown(message: dict[str, Any]) -> Iterator[str]:
    for embed in message["embeds"]:
        for place in ("image", "thumbnail", "video"):
            yield str((embed.get(place) or {}).get("url"))
    for component in walk_components(message["components"]):
        for medium in (*(component.get(key) for key in MEDIA_KEYS), *(item.get("media") for item in component.get("items") or ())):
            yield str((medium or {}).get("url"))


def with_local_urls(payload: Any, base_url: str) -> Any:
    """Turn URLs on this server's CDN into paths, so that the page finds them under whatever name it was opened."""
    if isinstance(payload, list):
        return [with_local_urls(item, base_url) for item in payload]
    if not isinstance(payload, dict):
        return payload
    return {
        key: value.removeprefix(base_url) if key in ("url", "proxy_url") and isinstance(value, str) else with_local_urls(value, base_url)
        for key, value in payload.items()
    }


def with_base_url(payload: Any, old: str, new: str) -> None:
    """Move the CDN URLs inside ``payload`` to another server, in place: a saved world comes back on another port."""
    if isinstance(payload, list):
        for item in payload:
            with_base_url(item, old, new)
    elif isinstance(payload, dict):
        for key, value in payload.items():
            if key in ("url", "proxy_url") and isinstance(value, str) and value.startswith(old + "/"):
                payload[key] = new + value.removeprefix(old)
            else:
                with_base_url(value, old, new)
