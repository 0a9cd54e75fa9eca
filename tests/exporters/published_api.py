"""A stand-in for the `tensorrt` module that knows exactly the names and signatures that a version's bindings publish.

TensorRT proper loads on machines with its device alone. A name, an argument or a type that the version does not have is
an error here, as it would be there; what the calls return is of the published type and otherwise empty.
"""

import enum
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

RTX_ALONE = frozenset({"ComputeCapability", "CudaGraphStrategy", "CudaGraphStrategy.WHOLE_GRAPH_CAPTURE"})
"""Names of TensorRT-RTX that the adapter uses behind a question whether they are there."""
PLAIN = {
    "str": str,
    "int": int,
    "bool": bool,
    "Buffer": (bytes, bytearray, memoryview),
    "Dims": (tuple, list),
    "tuple": tuple,
    "list": list,
}


class Published:
    """One version's module, with every call that was made: (class, member, arguments)."""

    def __init__(self, major: int, properties: dict[str, Any]) -> None:
        spec = json.loads(Path(__file__).with_name(f"tensorrt_{major}_api.json").read_text())
        self.calls: list[tuple[str, str, tuple[Any, ...]]] = []
        self.properties = properties
        self.classes: dict[str, type] = {}
        self.enumerations = {
            name: enum.IntEnum(name, {m: at for at, m in enumerate(members)})
            for name, members in spec["enumerations"].items()
        }
        for name, members in spec["classes"].items():
            self.classes[name] = self._class(name, members)
        severity = enum.IntEnum("Severity", {"INTERNAL_ERROR": 0, "ERROR": 1, "WARNING": 2, "INFO": 3, "VERBOSE": 4})
        self.classes["ILogger"].Severity = severity  # type: ignore[attr-defined]
        self.module = SimpleNamespace(__version__=spec["version"], **self.classes, **self.enumerations)

    def _class(self, name: str, members: dict[str, Any]) -> type:
        body: dict[str, Any] = {"__slots__": ("__dict__",) if name == "ILogger" else ("held",)}
        for member, signatures in members.items():
            body[member] = (
                self._property(name, member) if signatures == "property" else self._method(name, member, signatures)
            )
        if name == "IHostMemory":
            body["__bytes__"] = lambda host: b"engine"
        return type(name, (), body)

    def _property(self, name: str, member: str) -> property:
        def get(one: Any) -> Any:
            return self.properties[f"{name}.{member}"]

        def put(one: Any, value: Any) -> None:
            self.calls.append((name, f"{member}=", (value,)))

        return property(get, put)

    def _method(self, name: str, member: str, signatures: list[dict[str, Any]]) -> Any:
        def call(one: Any, *given: Any) -> Any:
            fits = [signature for signature in signatures if self._fits(signature["takes"], given)]
            if not fits:
                raise TypeError(f"{name}.{member} takes {[each['takes'] for each in signatures]}, got {given}")
            self.calls.append((name, member, given))
            return self.answer(name, member, fits[0]["gives"])

        return call

    def _fits(self, takes: list[list[Any]], given: tuple[Any, ...]) -> bool:
        needed = [one for one in takes if not one[2]]
        if not len(needed) <= len(given) <= len(takes):
            return False
        kinds = {**PLAIN, **self.classes, **self.enumerations}
        return all(
            isinstance(value, kinds.get(kind, object)) for (_, kind, _), value in zip(takes, given, strict=False)
        )

    def answer(self, name: str, member: str, kind: str) -> Any:
        if f"{name}.{member}()" in self.properties:
            return self.properties[f"{name}.{member}()"]
        if kind in self.classes:
            found = self.classes[kind]
            return found.__new__(found)
        return {"None": None, "bool": True, "int": 0, "str": "", "list": []}.get(kind)

    def called(self, member: str) -> list[tuple[Any, ...]]:
        """The arguments of every call of a member."""
        return [given for _, name, given in self.calls if name == member]
