"""OpenAI's Responses. Read `exchange` first; `native` says what passes through as it is."""
