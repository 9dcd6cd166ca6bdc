"""Configuration: from YAML and the environment to frozen models."""
