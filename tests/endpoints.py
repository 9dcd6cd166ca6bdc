"""Every endpoint of the service, and the status that it answers with, by who asks."""

from __future__ import annotations

from typing import NamedTuple


class Row(NamedTuple):
    """The status that an endpoint answers with, by who asks."""

    nobody: int
    call: int
    read: int
    write: int
    admin: int
    foreign: int  # another tenant's admin
    revoked: int
    expired: int


OPEN = (200, 200, 200, 200, 200, 200, 200, 200)
# fmt: off
TABLE = {
    #                               nobody, call, read, write, admin, foreign, revoked, expired
    "POST /api/v1/llm-providers":                Row(401, 403, 403, 201, 201, 201, 401, 401),
    "POST /api/v1/llm-providers:import":         Row(401, 403, 403, 200, 200, 200, 401, 401),
    "GET /api/v1/llm-providers":                 Row(401, 403, 200, 403, 200, 200, 401, 401),
    "GET /api/v1/llm-providers/{id}":            Row(401, 403, 200, 403, 200, 404, 401, 401),
    "PUT /api/v1/llm-providers/{id}":            Row(401, 403, 403, 200, 200, 404, 401, 401),
    "DELETE /api/v1/llm-providers/{id}":         Row(401, 403, 403, 204, 204, 404, 401, 401),
    "POST /api/v1/llm-providers/{id}/test":      Row(401, 403, 403, 200, 200, 404, 401, 401),
    "GET /api/v1/llm-providers/{id}/usage":      Row(401, 403, 200, 403, 200, 404, 401, 401),
    "POST /api/v1/agent-llm-configs":            Row(401, 403, 403, 201, 201, 422, 401, 401),
    "GET /api/v1/agent-llm-configs":             Row(401, 403, 200, 403, 200, 200, 401, 401),
    "GET /api/v1/agent-llm-configs/{id}":        Row(401, 403, 200, 403, 200, 404, 401, 401),
    "PUT /api/v1/agent-llm-configs/{id}":        Row(401, 403, 403, 200, 200, 404, 401, 401),
    "DELETE /api/v1/agent-llm-configs/{id}":     Row(401, 403, 403, 204, 204, 404, 401, 401),
    "POST /api/v1/agent-llm-configs/{id}/test":  Row(401, 403, 403, 200, 200, 404, 401, 401),
    "GET /api/v1/agent-llm-configs/{id}/usage":  Row(401, 403, 200, 403, 200, 404, 401, 401),
    "GET /api/v1/usage":                         Row(401, 403, 200, 403, 200, 200, 401, 401),
    "GET /api/v1/live":                          Row(401, 403, 200, 403, 200, 200, 401, 401),
    "GET /":                                     Row(*OPEN),
    "POST /api/v1/tokens":                       Row(401, 403, 403, 403, 201, 201, 401, 401),
    "GET /api/v1/tokens":                        Row(401, 403, 403, 403, 200, 200, 401, 401),
    "DELETE /api/v1/tokens/{id}":                Row(401, 403, 403, 403, 204, 404, 401, 401),
    "GET /api/v1/audit":                         Row(401, 403, 403, 403, 200, 200, 401, 401),
    "DELETE /api/v1/conversations":              Row(401, 403, 403, 204, 204, 204, 401, 401),
    "DELETE /api/v1/response-cache":             Row(401, 403, 403, 204, 204, 204, 401, 401),
    "GET /metrics":                              Row(401, 403, 200, 403, 200, 200, 401, 401),
    "POST /v1/chat/completions":                 Row(401, 404, 403, 403, 404, 404, 401, 401),
    "POST /v1/messages":                         Row(401, 404, 403, 403, 404, 404, 401, 401),
    "POST /v1/messages/count_tokens":            Row(401, 404, 403, 403, 404, 404, 401, 401),
    "POST /v1/responses":                        Row(401, 404, 403, 403, 404, 404, 401, 401),
    "POST /v1/responses/input_tokens":           Row(401, 404, 403, 403, 404, 404, 401, 401),
    "POST /v1/responses/compact":                Row(401, 404, 403, 403, 404, 404, 401, 401),
    "GET /v1/responses/{response}":              Row(401, 404, 403, 403, 404, 404, 401, 401),
    "DELETE /v1/responses/{response}":           Row(401, 404, 403, 403, 404, 404, 401, 401),
    "POST /v1/embeddings":                      Row(401, 404, 403, 403, 404, 404, 401, 401),
    "GET /v1/models":                            Row(401, 200, 403, 403, 200, 200, 401, 401),
    "GET /v1/models/{model:path}":               Row(401, 404, 403, 403, 404, 404, 401, 401),
    "GET /healthz":                              Row(*OPEN),
    "HEAD /healthz":                             Row(*OPEN),
    "HEAD /readyz":                              Row(*OPEN),
    "GET /readyz":                               Row(*OPEN),
    "GET /openapi.json":                         Row(*OPEN),
    "HEAD /openapi.json":                        Row(*OPEN),
}
# The test that makes a real call and spends; who has write and call may ask for it.
PROMPTS = {
    "POST /api/v1/llm-providers/{id}/test":      Row(401, 403, 403, 403, 200, 404, 401, 401),
    "POST /api/v1/agent-llm-configs/{id}/test":  Row(401, 403, 403, 403, 200, 404, 401, 401),
}
# fmt: on
