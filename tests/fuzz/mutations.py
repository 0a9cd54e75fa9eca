"""Files as an attacker, a bad disk or a hurried person changes them: bytes, lines, and values of JSON and YAML."""

import copy
import json
import random
from typing import Any

import yaml

VALUES: list[Any] = [
    *(None, True, False, 0, -1, 1, 2**31, 2**63, 10**30, -(10**30), 1e300, 1e-300, float("nan"), float("inf")),
    *(
        "",
        " ",
        "a",
        "\u00b2",
        "\u0661",
        "-",
        "--5",
        "0",
        "9" * 5000,
        "\ud800",
        "\0",
        "é" * 300,
        "../..",
        "/etc/passwd",
        ".",
    ),
    *("subprocess.getoutput", "os.system", "builtins.exec", "attack_module.Evil", "package:attack_module"),
    *("kd2deploy.exporters.bundle.write_sums", "kd2deploy.tasks.text_classification.Path", "shutil.rmtree"),
    *(
        [],
        {},
        [[]],
        [None],
        [1, "a"],
        ["a"] * 300,
        {"a": {"b": {"c": []}}},
        {"": ""},
        {"use": "os.system", "cmd": "ls"},
    ),
    *({"0": "neg"}, {"x": "neg", "y": "pos"}, ["neg", "pos"], {"auto_map": "a.b"}, list(range(2000))),
]
"""What stands where something else belongs."""
PIECES = [b"\0", b"\xff", b"\xff\xfe", b"\xed\xa0\x80", b'"', b"'", b"\n", b"\r", b"\t", b",", b";", b"{", b"[", b"}"]
PIECES += [b"&a ", b"*a", b"<<: ", b"!!python/object/apply:os.system [ls]", b"- ", b": ", b"\\ud800", b"NaN", b"1e999"]


def mutated(data: bytes, kind: str, drawn: random.Random) -> bytes:
    """`data` with one to four changes. `kind` is json, lines (of JSON), yaml or bytes."""
    if kind in ("json", "yaml", "lines") and drawn.random() < 0.7:
        return restructured(data, kind, drawn)
    for _ in range(drawn.randint(1, 4)):
        data = with_other_bytes(data, drawn)
    return data


def restructured(data: bytes, kind: str, drawn: random.Random) -> bytes:
    """Another value, name or nesting somewhere in the plain values of a file."""
    if kind == "lines":
        lines = data.split(b"\n")
        at = drawn.randrange(len(lines))
        lines[at] = restructured(lines[at], "json", drawn) if lines[at].strip() else b"{"
        return b"\n".join(lines)
    found = yaml.safe_load(data) if kind == "yaml" else json.loads(data)
    for _ in range(drawn.randint(1, 3)):
        found = with_another_value(copy.deepcopy(found), drawn)
    if kind == "yaml":
        return json.dumps(found).encode()  # which YAML reads, surrogates and all
    return json.dumps(found).encode() if drawn.random() < 0.95 else nested(drawn)


def nested(drawn: random.Random) -> bytes:
    depth = drawn.choice([500, 5_000, 200_000])
    return drawn.choice([b"[" * depth + b"]" * depth, b'{"a":' * depth + b"1" + b"}" * depth, b"[" * depth])


def with_another_value(found: Any, drawn: random.Random) -> Any:
    """One place replaced, removed, renamed, doubled or wrapped."""
    place, key = found, None
    around: Any = None
    while isinstance(place, dict | list) and place and (key is None or drawn.random() < 0.75):
        around, key = place, drawn.choice(list(place) if isinstance(place, dict) else range(len(place)))
        place = around[key]
    if around is None:
        return copy.deepcopy(drawn.choice(VALUES))
    action = drawn.choice(["replace", "replace", "replace", "remove", "rename", "double", "wrap"])
    if action == "replace":
        around[key] = copy.deepcopy(drawn.choice(VALUES))
    elif action == "remove":
        del around[key]
    elif action == "rename" and isinstance(around, dict):
        name = drawn.choice([value for value in VALUES if isinstance(value, str)])
        around[name] = around.pop(key)
    elif action == "double" and isinstance(around, list):
        around += around
    else:
        around[key] = [place]
    return found


def with_other_bytes(data: bytes, drawn: random.Random) -> bytes:
    """A bit flipped, a run cut out or doubled, something put in, the end cut off."""
    at = drawn.randrange(len(data) + 1)
    until = min(len(data), at + drawn.choice([1, 2, 8, 64, 1024]))
    action = drawn.choice(["flip", "cut", "double", "insert", "end", "swap", "empty"])
    if action == "flip" and data:
        at = drawn.randrange(len(data))
        return data[:at] + bytes([data[at] ^ (1 << drawn.randrange(8))]) + data[at + 1 :]
    if action == "cut":
        return data[:at] + data[until:]
    if action == "double":
        return data[:until] + data[at:until] * drawn.choice([1, 2, 50]) + data[until:]
    if action == "insert":
        return data[:at] + drawn.choice(PIECES) * drawn.choice([1, 1, 3, 200]) + data[at:]
    if action == "end":
        return data[:at]
    if action == "swap":
        return data[:at] + drawn.randbytes(until - at) + data[until:]
    return data if drawn.random() < 0.9 else b""
