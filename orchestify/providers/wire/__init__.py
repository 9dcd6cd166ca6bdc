"""The direct lanes: Anthropic Messages and OpenAI Chat Completions over aiohttp."""
