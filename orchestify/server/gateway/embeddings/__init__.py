"""OpenAI's Embeddings. Read `exchange` first."""
