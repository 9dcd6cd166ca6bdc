"""What tenants store, as a configuration: checked, and nothing in it expanded."""
