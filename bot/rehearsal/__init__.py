"""A Discord on loopback: gateway, REST and CDN for an unmodified bot, with a chat page. The demo, and the stage of the end-to-end tests."""
