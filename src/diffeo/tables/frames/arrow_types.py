"""Arrow types in plain JSON: most have an alias; those with parameters are lists."""

from __future__ import annotations

from typing import Any


def describe(kind: Any) -> str | list[Any]:
    """Return an Arrow type as text or a list.

    >>> import pyarrow as pa
    >>> describe(pa.int8()), describe(pa.timestamp("us", "UTC"))
    ('int8', ['timestamp', 'us', 'UTC'])
    """
    import pyarrow as pa

    if pa.types.is_timestamp(kind):
        return ["timestamp", kind.unit, kind.tz]
    if pa.types.is_duration(kind):
        return ["duration", kind.unit]
    if pa.types.is_decimal(kind):
        return [f"decimal{kind.bit_width}", kind.precision, kind.scale]
    if pa.types.is_dictionary(kind):
        return ["dictionary", describe(kind.index_type), describe(kind.value_type), kind.ordered]
    return str(kind)


def build(told: Any) -> Any:
    """Return the Arrow type that :func:`describe` described.

    >>> import pyarrow as pa
    >>> kind = pa.dictionary(pa.int32(), pa.large_string())
    >>> build(describe(kind)) == kind
    True
    """
    import pyarrow as pa

    if isinstance(told, list):
        family, *details = told
        if family == "dictionary":
            return pa.dictionary(build(details[0]), build(details[1]), ordered=details[2])
        return getattr(pa, family)(*details)
    return pa.type_for_alias(told)
