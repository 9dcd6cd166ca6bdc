"""Every backend that LiteLLM reaches; the only importer of litellm."""
