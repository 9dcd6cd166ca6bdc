"""OpenAI's Chat Completions. Read `exchange` first."""
