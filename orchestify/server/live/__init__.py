"""The live view: a page of what is being spent, and the states that it is sent.

Read `state` first: what the page shows, as JSON. `feed` computes it at most once a second for all
readers; `page` is the HTML with its script and style (`page.html`, `live.js`, `live.css`);
`failures` remembers a tenant's last errors. `standalone` serves a ledger alone, for
`orchestify usage serve`; the service's endpoints are in `server.api.live`.
"""
