"""What /docs makes of a document: names, kinds, and a line for curl."""

from __future__ import annotations

from enroll.pages.api_reference import Reference


def test_reading_shows_what_it_doesnt_know_as_anything() -> None:
    document = {
        "servers": [{"url": "https://relay.test"}], "info": {"version": "1"}, "components": {"securitySchemes": {}},
        "paths": {"/x/{y}": {"put": {
            "operationId": "put_x", "security": [],
            "parameters": [{"name": "y", "in": "path", "required": True, "schema": {}}],
            "requestBody": {"content": {"application/json": {"schema": {
                "required": ["a"], "properties": {"a": {"not": {}}, "b": {"type": "array", "items": {"properties": {
                    "c": {"description": "`<b>` is **bold**"}
                }}}}
            }}}},
            "responses": {"204": {"description": "Done."}},
        }}},
    }  # fmt: skip
    (group,) = Reference(document).groups
    (call,) = group.calls
    fields = call.bodies[0].forms[0]
    assert [(f.name, f.kind, f.required) for f in fields] == [
        ("a", "anything", True), ("b", "list of anything", False), ("b[].c", "anything", False),
    ]  # fmt: skip
    assert str(fields[2].says) == "<code>&lt;b&gt;</code> is <b>bold</b>"
    assert call.curl.startswith("curl -X PUT https://relay.test/x/Y \\\n")
    assert call.who == "anybody"
