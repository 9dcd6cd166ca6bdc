"""Who may do what: tokens and their scopes, authentication, limits on requests, denied requests.

Read `authentication` first: `require` is what every endpoint calls. `tokens` has the table of
tokens, the scopes and `Principal`; `limits` the throttles and call slots; `denied_requests` what
of denials reaches the audit log.
"""
