"""What happens to providers, circuits and budgets, as typed events."""
