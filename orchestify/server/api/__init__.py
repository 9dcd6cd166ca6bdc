"""The REST endpoints, `/api/v1/...`: one module a resource.

Read `routing` first: what every endpoint declares (scope, errors, pages). `rows` has the
endpoints that `providers` and `agents` share, `fields` the types of bodies, `errors` what an
error is answered with. A new endpoint goes into its resource's module, a new resource's router
into `app.create_app`.
"""
