"""Identity: the canonical form of a configuration and its SHA-256.

Two configurations have one identity exactly when they would give the same result:

- a dataclass becomes an object of its fields and, under the key "class" (which no field can be called), its class name,
  so that two alternatives with equal fields stay apart;
- numbers that are equal are written equally (1 and 1.0 are both `1`, as in RFC 8785), so that a decimal point in
  a literal makes no difference; `True` is not 1;
- a field that is added later declares the value that means "as before". While it has that value it is left out, so
  that older results keep their identity: `field(default="zero", metadata={"legacy": "random"})`.
"""

import dataclasses
import hashlib
import json
import math
from collections.abc import Iterator, Mapping
from typing import Any, get_args, get_origin, get_type_hints

CLASS_KEY = "class"
LEGACY_KEY = "legacy"


def canonical(value: Any, *, with_legacy: bool = False, path: str = "") -> Any:
    """The value as JSON objects, lists and scalars. `with_legacy` keeps the fields that an identity leaves out.

    Raises ValueError, naming the field, for what has no canonical form: a set, a path, an array, NaN.
    """
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return _canonical_dataclass(value, with_legacy, path)
    if isinstance(value, Mapping):
        for key in value:
            if type(key) is not str or key == CLASS_KEY:
                keys = f"a mapping's keys are strings other than {CLASS_KEY!r}"
                raise ValueError(f"{path or 'value'}: {keys}, got {key!r}")
        return {key: canonical(item, with_legacy=with_legacy, path=f"{path}.{key}") for key, item in value.items()}
    if isinstance(value, tuple | list):
        return [canonical(item, with_legacy=with_legacy, path=f"{path}[{i}]") for i, item in enumerate(value)]
    if value is None or type(value) in (bool, int, str):
        return value
    if isinstance(value, float) and type(value) is float and math.isfinite(value):
        return int(value) if value.is_integer() else value
    raise ValueError(
        f"{path or 'value'}: {value!r} ({type(value).__name__}) has no canonical form; allowed are None, bool, int,"
        " str, finite float, and tuples, mappings and dataclasses of these"
    )


def _canonical_dataclass(value: Any, with_legacy: bool, path: str) -> dict[str, Any]:
    form: dict[str, Any] = {CLASS_KEY: type(value).__name__}
    for field in dataclasses.fields(value):
        place = f"{path}.{field.name}" if path else field.name
        item = canonical(getattr(value, field.name), with_legacy=with_legacy, path=place)
        if not with_legacy and LEGACY_KEY in field.metadata:
            legacy = canonical(field.metadata[LEGACY_KEY], path=place)
            if to_json(legacy) == to_json(item):
                continue
        form[field.name] = item
    return form


def from_canonical(form: Any, classes: Mapping[str, type]) -> Any:
    """The value that a canonical form was made from, with tuples for its lists.

    `classes`: dataclasses by their name. ValueError for another class, or fields that a class does not have.
    """
    if isinstance(form, list):
        return tuple(from_canonical(item, classes) for item in form)
    if not isinstance(form, dict):
        return form
    items = {key: from_canonical(item, classes) for key, item in form.items() if key != CLASS_KEY}
    name = form.get(CLASS_KEY)
    if name is None:
        return items
    if name not in classes:
        raise ValueError(f"there is no configuration of the class {name!r} here")
    hints = get_type_hints(classes[name])
    try:
        return classes[name](**{key: _as_hinted(item, hints.get(key)) for key, item in items.items()})
    except TypeError as error:
        raise ValueError(f"{name} has changed since: {error}") from None


def _as_hinted(value: Any, hint: Any) -> Any:
    """A whole number becomes a float again where the field is one."""
    if isinstance(value, tuple) and get_origin(hint) is tuple:
        return tuple(_as_hinted(item, get_args(hint)[0]) for item in value)
    is_float = hint is float or (float in get_args(hint) and int not in get_args(hint))
    return float(value) if type(value) is int and is_float else value


def to_json(form: Any) -> str:
    """The one JSON text of a canonical form: keys sorted, no spaces, ASCII."""
    return json.dumps(form, sort_keys=True, separators=(",", ":"), allow_nan=False)


def digest(form: Any) -> str:
    """SHA-256 of a canonical form, 64 hexadecimal digits."""
    return hashlib.sha256(to_json(form).encode()).hexdigest()


def difference(old: Any, new: Any) -> list[str]:
    """What changed between two canonical forms, one line per field, sorted by path."""
    before, after = dict(_leaves(old)), dict(_leaves(new))
    return [
        f"{path or 'value'} changed from {before.get(path, 'nothing')} to {after.get(path, 'nothing')}"
        for path in sorted(before.keys() | after.keys())
        if before.get(path) != after.get(path)
    ]


def _leaves(form: Any, path: str = "") -> Iterator[tuple[str, str]]:
    if isinstance(form, dict):
        for key, item in form.items():
            yield from _leaves(item, f"{path}.{key}" if path else key)
    else:
        yield path, json.dumps(form, sort_keys=True)
