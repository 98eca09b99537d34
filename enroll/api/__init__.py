"""The management APIs, JSON only: thin faces over the services, with no logic of their own.

`native` is ours. `models` reads bodies strictly and writes answers; `schema` makes their OpenAPI description from
the same models. Every refusal is raised, and becomes `{"error", "code", "detail"}` in `enroll.app`.
"""
