"""OpenAI's Chat Completions, directly over HTTP, and every endpoint that speaks them."""
