"""What the API promises in its OpenAPI document, held against what it answers."""
