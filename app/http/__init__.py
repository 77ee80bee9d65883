"""How requests come in and answers go out: strict bodies, headers on every answer, the OpenAPI document."""
