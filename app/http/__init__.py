"""What all routes share: strict bodies, headers of every answer, whom a limit counts, the OpenAPI document."""
