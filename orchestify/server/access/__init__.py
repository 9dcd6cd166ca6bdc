"""Who may do what: tokens, the door, limits on requests."""
