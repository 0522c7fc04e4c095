"""What schemathesis is told of this server besides its description."""

import schemathesis
from schemathesis.generation import GenerationMode


@schemathesis.hook
def map_body(context, body):
    """To JSON Schema 1.0 is a whole number; to this server, as to most, it is none."""
    return whole(body)


def whole(value):
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, dict):
        return {key: whole(item) for key, item in value.items()}
    if isinstance(value, list):
        return [whole(item) for item in value]
    return value


@schemathesis.hook
def before_call(context, case, kwargs):
    """An ETag has quotation marks (RFC 9110, section 8.8.3), which it loses of values that fit the pattern."""
    value = (case.headers or {}).get("If-Match")
    if case.meta.generation.mode == GenerationMode.POSITIVE and isinstance(value, str) and value.isdigit():
        case.headers["If-Match"] = f'"{value}"'
