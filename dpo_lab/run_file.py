"""A training run as a YAML file: model, data and every setting of `DPOConfig`, checked before anything is loaded."""

from __future__ import annotations

import difflib
import types
import typing
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal, Union

import yaml

from dpo_lab.checks import check_positive
from dpo_lab.trainer import DPOConfig


@dataclass(frozen=True, kw_only=True)
class RunFile:
    """What a run needs besides its settings.

    Args:
        model: 'tiny', 'smollm2', a folder or a hub id: the policy to train, and its own reference.
        pairs: training pairs: a shipped name, a file, or a data set on the hub.
        eval_pairs: held-out pairs, likewise; None evaluates nothing.
        reference: another model as the reference; None takes the policy as it is before the first step.
        lora_rank: train LoRA adapters of this rank on frozen weights; None trains all weights.
        config: the settings.
    """

    model: str
    pairs: str
    config: DPOConfig
    eval_pairs: str | None = None
    reference: str | None = None
    lora_rank: int | None = None


def read_run_file(path: str | Path, **changes: Any) -> RunFile:
    """Read and check a run's YAML file, a flat list of names and values.

    Args:
        path: the file. Its names are the fields of `RunFile` but `config`, and those of `DPOConfig`.
        changes: values that go before the file's.

    Returns:
        The run, with defaults filled in.

    Raises:
        FileNotFoundError: no such file. ValueError: not YAML, not names with values, an unknown name (with the nearest
        known one), a name twice, a value of the wrong type or out of range, or a name that is missing.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no run file {str(path)!r}")
    try:
        values = yaml.load(path.read_text(encoding="utf-8"), Loader=NoDuplicates)
    except yaml.YAMLError as error:
        raise ValueError(f"{path} is not valid YAML: {error}") from error
    if not isinstance(values, dict):
        raise ValueError(f"{path} must hold lines of the form 'name: value', got {type(values).__name__}")
    return run_from(values | changes, str(path))


def run_from(values: dict[str, Any], source: str) -> RunFile:
    """The run that names and values spell out; `source` is named in errors."""
    kinds = typing.get_type_hints(DPOConfig)
    own = {name: kind for name, kind in typing.get_type_hints(RunFile).items() if name != "config"}
    known = own | {field.name: kinds[field.name] for field in fields(DPOConfig)}
    for name in values:
        if name not in known:
            near = difflib.get_close_matches(str(name), known, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(sorted(known))}"
            raise ValueError(f"{source}: there is no setting {name!r}; {hint}")
    if missing := [name for name in ("model", "pairs") if name not in values]:
        raise ValueError(f"{source}: {' and '.join(missing)} must be set")
    typed = {name: as_type(value, known[name], f"{source}: {name}") for name, value in values.items()}
    try:
        config = DPOConfig(**{name: value for name, value in typed.items() if name not in own})
        if typed.get("lora_rank") is not None:
            check_positive(lora_rank=typed["lora_rank"])
    except ValueError as error:
        raise ValueError(f"{source}: {error}") from error
    return RunFile(config=config, **{name: value for name, value in typed.items() if name in own})


def as_type(value: Any, kind: Any, name: str) -> Any:
    """The value if it is of the kind; ints count as floats, and so does what YAML reads as text, such as 3e-4.

    Raises:
        ValueError: it is not; the error starts with `name`.
    """
    origin = typing.get_origin(kind)
    if origin in (Union, types.UnionType):
        if value is None:
            return None
        (kind,) = [option for option in typing.get_args(kind) if option is not type(None)]
        return as_type(value, kind, name)
    if origin is Literal:
        if value not in typing.get_args(kind):
            raise ValueError(f"{name} must be one of {', '.join(typing.get_args(kind))}, got {value!r}")
        return value
    if kind is float and isinstance(value, (int, float, str)) and not isinstance(value, bool):
        try:
            return float(value)
        except ValueError:
            raise ValueError(f"{name} must be a number, got {value!r}") from None
    wanted = dict if origin is not None else kind  # the only other generic is a mapping of options
    if not isinstance(value, wanted) or (wanted is int and isinstance(value, bool)):
        raise ValueError(f"{name} must be of type {wanted.__name__}, got {value!r}")
    return value


class NoDuplicates(yaml.SafeLoader):
    """YAML in which a name that stands twice is an error; by itself the second would win without a word."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        names = [self.construct_object(key, deep=deep) for key, _ in node.value]
        if twice := {name for name in names if names.count(name) > 1}:
            listed = ", ".join(sorted(map(str, twice)))
            raise yaml.constructor.ConstructorError(
                None, None, f"{listed} stands there twice", node.start_mark
            )
        return super().construct_mapping(node, deep=deep)
