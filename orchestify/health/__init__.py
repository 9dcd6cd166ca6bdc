"""How well providers do: statistics of real calls, and free checks."""
