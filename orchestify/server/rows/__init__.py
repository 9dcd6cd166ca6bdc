"""What tenants store, read as a configuration: checked, and nothing in it expanded.

Read `tenant_config` first: a tenant's rows over the operator's configuration. `stored_rows` has
the rows themselves, `provider_rows` and `agent_rows` read them, `input_rules` says what may be
written, `key_destinations` where stored keys would go.
"""
