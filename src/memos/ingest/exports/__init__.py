"""Conversations that other programs exported, as OpenAI-style messages. Pure but for the files."""
