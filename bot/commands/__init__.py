"""Slash commands and context menus, one file a family. Each turns an interaction into calls on storage and engine client."""
