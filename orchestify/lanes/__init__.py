"""The ways out to providers: what goes over the wire, and how it is read."""
