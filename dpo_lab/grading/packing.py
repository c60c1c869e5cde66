"""Inputs as JSON: what the parent sends to the zygote.

Functions and classes of the tests go along, with just the globals that they use: a scenario arrives without the oracles
and mistakes that stand in the same file. The parent is trusted, so code may travel in this direction. Nothing is packed
in the other.
"""

from __future__ import annotations
import __future__

import ast
import base64
import builtins
import dataclasses
import dis
import importlib
import marshal
import sys
import types
from typing import Any

import torch
from torch import Tensor

from dpo_lab.course import exercises
from dpo_lab.course.layout import Course, CourseError
from dpo_lab.course.observing import Drive
from dpo_lab.grading import values

FORBIDDEN = ("MISTAKES", "ACCEPTED")


class Packer:
    """Packs drives; functions and classes of the course's tests are sent as code."""

    def __init__(self, course: Course) -> None:
        self._course = course
        self._keys: dict[int, str] = {}
        self._kept: list[Any] = []  # keeps ids valid
        self.table: dict[str, dict] = {}

    def drive(self, drive: Drive) -> dict:
        """JSON for a drive; what it refers to is in `table`."""
        return {
            "name": drive.name,
            "inputs": [self.pack(value) for value in drive.inputs],
            "kwargs": {key: self.pack(value) for key, value in drive.kwargs.items()},
            "scenario": self.pack(drive.scenario),
            "wrt": drive.wrt,
            "pick": drive.pick,
        }

    def pack(self, value: Any) -> Any:
        """JSON for one value.

        Raises:
            CourseError: it is of a type that can't be sent.
        """
        if value is None or type(value) in (bool, int, float, str, complex):
            return values.encode(value)
        if type(value) is Tensor:
            return {**values.encode(value.detach()), "grad": value.requires_grad}
        if type(value) in (list, set, frozenset):
            kind = {list: None, set: "set", frozenset: "frozenset"}[type(value)]
            items = [self.pack(item) for item in value]
            return {kind: items} if kind else items
        if type(value) is tuple:
            return {"tuple": [self.pack(item) for item in value]}
        if type(value) is dict:
            return {"dict": [[self.pack(key), self.pack(item)] for key, item in value.items()]}
        if isinstance(value, types.ModuleType):
            return {"module": value.__name__}
        if isinstance(value, torch.dtype):
            return {"dtype": str(value).removeprefix("torch.")}
        if type(value).__module__.startswith("numpy"):
            return values.encode(value)
        return self._reference(value)

    def _reference(self, value: Any) -> Any:
        if isinstance(value, torch.Generator):
            return {"generator": value.get_state().tolist()}
        if isinstance(value, type) or (callable(value) and hasattr(value, "__qualname__")):
            home = sys.modules.get(value.__module__ or "")
            if not self._is_ours(value) and _walk(home, value.__qualname__) is value:
                return {"named": [value.__module__, value.__qualname__]}
            return {"code": self._code(value)}
        if type(value).__name__ == "Dataset" and type(value).__module__.startswith("datasets."):
            return {"dataset": self.pack(value.to_dict())}
        if dataclasses.is_dataclass(value):
            fields = {
                field.name: self.pack(getattr(value, field.name)) for field in dataclasses.fields(value)
            }
            return {"instance": self.pack(type(value)), "fields": fields}
        raise CourseError(f"an input of type {type(value).__name__} can't be sent to the sandbox")

    def _is_ours(self, value: Any) -> bool:
        return (self._course.autograders / f"{value.__module__}.py").is_file()

    def _code(self, value: Any) -> str:
        if id(value) in self._keys:
            return self._keys[id(value)]
        key = self._keys[id(value)] = f"{value.__module__}:{value.__qualname__}:{len(self._keys)}"
        self._kept.append(value)
        self.table[key] = {}  # a function may refer to itself
        if isinstance(value, types.FunctionType):
            self.table[key] = self._function(value)
        elif isinstance(value, type):
            self.table[key] = self._class(value)
        else:
            raise CourseError(f"{value.__qualname__} can't be sent to the sandbox")
        return key

    def _class(self, value: type) -> dict:
        path = self._course.autograders / f"{value.__module__}.py"
        text = path.read_text(encoding="utf-8")
        for node in ast.parse(text).body:
            if isinstance(node, ast.ClassDef) and node.name == value.__qualname__:
                first = min([node.lineno, *(each.lineno for each in node.decorator_list)])
                source = "\n".join(text.splitlines()[first - 1 : node.end_lineno])
                names = {each.id for each in ast.walk(node) if isinstance(each, ast.Name)} - {node.name}
                scope = vars(exercises.load_autograder(self._course, path))
                home = value.__module__
                return {
                    "class": source,
                    "name": value.__name__,
                    "home": home,
                    "globals": self._globals(names, scope),
                }
        raise CourseError(f"no top-level class {value.__qualname__} in {path.name}")

    def _function(self, function: types.FunctionType) -> dict:
        names = set(_globals_of(function.__code__))
        return {
            "marshal": base64.b64encode(marshal.dumps(function.__code__)).decode(),
            "name": function.__name__,
            "home": function.__module__,
            "defaults": self.pack(function.__defaults__),
            "kwdefaults": self.pack(function.__kwdefaults__),
            "closure": [self.pack(cell.cell_contents) for cell in function.__closure__ or ()],
            "globals": self._globals(names, function.__globals__),
        }

    def _globals(self, names: set[str], scope: dict) -> dict:
        used = sorted(name for name in names if name in scope and not hasattr(builtins, name))
        if forbidden := [name for name in used if name in FORBIDDEN]:
            raise CourseError(f"a scenario uses {forbidden[0]}: it would tell the answers to the sandbox")
        return {name: self.pack(scope[name]) for name in used if name != "annotations"}


def _walk(home: Any, qualname: str) -> Any:
    for part in qualname.split("."):
        home = getattr(home, part, None)
    return home


def _globals_of(code: types.CodeType) -> list[str]:
    found = [
        each.argval for each in dis.get_instructions(code) if each.opname in ("LOAD_GLOBAL", "LOAD_NAME")
    ]
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            found += _globals_of(constant)
    return found


class Unpacker:
    """Makes drives of what a `Packer` made of them, in the zygote and its children."""

    def __init__(self) -> None:
        self.table: dict[str, dict] = {}
        self._made: dict[str, Any] = {}

    def drive(self, data: dict) -> Drive:
        """The drive."""
        inputs = tuple(self.unpack(each) for each in data["inputs"])
        kwargs = {key: self.unpack(each) for key, each in data["kwargs"].items()}
        return Drive(data["name"], inputs, kwargs, self.unpack(data["scenario"]), data["wrt"], data["pick"])

    def unpack(self, data: Any) -> Any:
        """One value."""
        if isinstance(data, list):
            return [self.unpack(item) for item in data]
        if not isinstance(data, dict):
            return data
        kind = next(iter(data))
        inner = data[kind]
        if kind in ("tuple", "set", "frozenset"):
            return {"tuple": tuple, "set": set, "frozenset": frozenset}[kind](map(self.unpack, inner))
        if kind == "dict":
            return {self.unpack(key): self.unpack(item) for key, item in inner}
        if kind == "tensor":
            return values.decode(data).requires_grad_(data.get("grad", False))
        if kind == "module":
            return importlib.import_module(inner)
        if kind == "dtype":
            return getattr(torch, inner)
        if kind == "generator":
            generator = torch.Generator()
            generator.set_state(torch.tensor(inner, dtype=torch.uint8))
            return generator
        if kind == "named":
            return _walk(importlib.import_module(inner[0]), inner[1])
        if kind == "code":
            return self._made[inner] if inner in self._made else self._make(inner)
        if kind == "dataset":
            return importlib.import_module("datasets").Dataset.from_dict(self.unpack(inner))
        return self._instance(data) if kind == "instance" else values.decode(data)

    def _instance(self, data: dict) -> Any:
        made = object.__new__(self.unpack(data["instance"]))
        for name, value in data["fields"].items():
            object.__setattr__(made, name, self.unpack(value))
        return made

    def _make(self, key: str) -> Any:
        data = self.table[key]
        scope = vars(sys.modules.setdefault(data["home"], types.ModuleType(data["home"])))
        scope["__builtins__"] = builtins
        if "class" in data:
            scope.update({name: self.unpack(value) for name, value in data["globals"].items()})
            flags = __future__.annotations.compiler_flag
            exec(compile(data["class"], "<test>", "exec", flags, dont_inherit=True), scope)
            self._made[key] = scope[data["name"]]
            return self._made[key]
        code = marshal.loads(base64.b64decode(data["marshal"]))
        closure = tuple(types.CellType() for _ in data["closure"])
        function = types.FunctionType(code, scope, data["name"], None, closure)
        function.__module__ = data["home"]
        self._made[key] = function
        function.__defaults__, function.__kwdefaults__ = (
            self.unpack(data["defaults"]),
            self.unpack(data["kwdefaults"]),
        )
        for cell, value in zip(closure, data["closure"], strict=True):
            cell.cell_contents = self.unpack(value)
        for name, value in data["globals"].items():
            scope[name] = self.unpack(value)
        return function
