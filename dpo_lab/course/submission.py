"""The only door between a test and the code that it grades.

A test asks `Submission` to drive a function; a driver does so and hands back plain values; the judging happens here.
In a notebook and in local runs the driver calls the function in this process. A sandbox is another driver.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor

from dpo_lab.course import library
from dpo_lab.course.comparing import ALL_ZERO, Difference, Tolerance, as_declared, difference, kind_of, show
from dpo_lab.course.exercises import Mistake
from dpo_lab.course.layout import Course
from dpo_lab.course.observing import Drive, Observation, Raised, Raises, observe
from dpo_lab.course.plain import to_plain

STUB = "NotImplementedError"
STUB_MESSAGE = "write me"
NO_GRADIENT = "no gradient arrives at that input: is something detached, or turned into a Python number?"
Driver = Callable[[Drive], Observation]
Drives = Callable[[Callable, Drive], Observation]


@dataclass(frozen=True)
class Diagnosis:
    """What a rejected answer is told.

    Args:
        status: "wrong", "error" (an exception that no known mistake raises) or "not written".
        headline: what happened, one sentence.
        hint: what to think about next; empty when nothing is known.
        mistake: name of the known mistake, or None.
        candidates: all known mistakes that give this result on these inputs; the first is `mistake`.
        inputs, expected, yours: short descriptions of the case; empty where they say nothing.
        printed: what the learner's function printed.
    """

    status: str
    headline: str
    hint: str = ""
    mistake: str | None = None
    inputs: str = ""
    expected: str = ""
    yours: str = ""
    printed: str = ""
    candidates: tuple[Mistake, ...] = ()

    def naming(self, mistake: Mistake) -> Diagnosis:
        """The same diagnosis with another of its candidates named."""
        headline = self.headline.removesuffix(f"{self.mistake}.") + f"{mistake.name}."
        return replace(self, headline=headline, hint=mistake.hint, mistake=mistake.name)


class Rejected(AssertionError):
    """A test turns an answer down; carries the diagnosis."""

    def __init__(self, diagnosis: Diagnosis) -> None:
        super().__init__(diagnosis.headline)
        self.diagnosis = diagnosis


def local_driver(resolve: Callable[[str], Callable]) -> Driver:
    """A driver that calls the functions that `resolve(name)` gives, in this process."""
    return lambda drive: observe(resolve(drive.name), drive)


class Submission:
    """The functions under test.

    Args:
        course: where the finished functions are; their signatures name the inputs in a report.
        driver: drives a function of the submission.
    """

    def __init__(self, course: Course, driver: Driver) -> None:
        self._course = course
        self._driver = driver

    def call(self, name: str, *inputs: Any, **kwargs: Any) -> Any:
        """What the function returns, as plain values.

        Raises:
            Rejected: it raised, or it changed its inputs.
        """
        __tracebackhide__ = True
        return self._value(Drive(name, inputs, kwargs))

    def grad(
        self, name: str, *inputs: Any, wrt: int = 0, pick: int | str | None = None, **kwargs: Any
    ) -> Tensor:
        """Gradient of the output's sum with respect to `inputs[wrt]`; zeros where none arrives.

        Args:
            pick: index or key of the part of the output to differentiate; None takes the whole of it.

        Raises:
            Rejected: as `call`.
        """
        __tracebackhide__ = True
        return self._value(Drive(name, inputs, kwargs, wrt=wrt, pick=pick))

    def run(self, name: str, scenario: Callable, *inputs: Any, **kwargs: Any) -> Any:
        """What `scenario(function, *inputs, **kwargs)` returns, as plain values.

        Raises:
            Rejected: the scenario or the function raised.
        """
        __tracebackhide__ = True
        return self._value(Drive(name, inputs, kwargs, scenario=scenario))

    def compare(
        self,
        name: str,
        inputs: Sequence[Any],
        expected: Any,
        mistakes: Mapping[str, Sequence[Mistake]] | Sequence[Mistake] = (),
        via: str | Callable | None = None,
        kwargs: Mapping[str, Any] | None = None,
        kwargs_via: Mapping[str, Any] | None = None,
        parts: Sequence[str] = (),
        rtol: float = 1e-5,
        atol: float = 1e-6,
    ) -> None:
        """Drive the function and reject it unless it gives `expected`.

        Args:
            inputs: positional arguments, a tuple; each drive gets copies.
            expected: plain value, or `raises(kind, part)`. Lists of numbers count as tensors where the library's
                return annotation says so.
            mistakes: known wrong versions, driven the same way to name what a wrong answer did.
            via: None for a call, "grad" for a gradient, a function for a scenario.
            kwargs: keyword arguments of the function.
            kwargs_via: `wrt` and `pick` for "grad".
            parts: names of the parts of a tuple, for the report; they are numbered otherwise.
            rtol, atol: tolerance, in float64.

        Raises:
            Rejected: the answer differs, the function raised, or it changed its inputs.
        """
        __tracebackhide__ = True
        if not isinstance(inputs, (tuple, list)):
            raise TypeError(f"inputs must be a tuple of positional arguments, got {type(inputs).__name__}")
        scenario = via if callable(via) else None
        extra = {"wrt": 0, **(kwargs_via or {})} if via == "grad" else {}
        drive = Drive(name, tuple(inputs), dict(kwargs or {}), scenario=scenario, **extra)
        known = mistakes.get(name, ()) if isinstance(mistakes, Mapping) else mistakes
        finished = library.find(self._course, name)
        case = Case(
            drive,
            self._declared(finished, drive, expected),
            Tolerance(rtol, atol),
            finished.parameters,
            tuple(parts),
        )
        self._settle(case, known)

    def _settle(self, case: Case, known: Sequence[Mistake]) -> None:
        """Drive the function and reject it; a classroom's recorder keeps the case for later instead."""
        __tracebackhide__ = True
        seen = self._driver(case.drive)
        problem = case.problem(seen)
        if problem is not None:
            raise Rejected(case.diagnosis(seen, problem, known))

    def _declared(self, finished: library.Finished, drive: Drive, expected: Any) -> Any:
        if isinstance(expected, Raises):
            return expected
        annotation = "Tensor" if drive.wrt is not None else finished.returns
        plain = to_plain(expected)
        return plain if drive.scenario is not None else as_declared(plain, annotation)

    def _value(self, drive: Drive) -> Any:
        __tracebackhide__ = True
        seen = self._driver(drive)
        case = Case(drive, seen.value, Tolerance(), library.find(self._course, drive.name).parameters)
        problem = case.problem(seen)
        if problem is not None:
            raise Rejected(case.diagnosis(seen, problem, ()))
        return seen.value


@dataclass(frozen=True)
class Case:
    """One comparison: how the function is driven and what it should give."""

    drive: Drive
    expected: Any
    tolerance: Tolerance
    parameters: list[str]
    parts: tuple[str, ...] = ()

    def problem(self, seen: Observation) -> Difference | None:
        """What is wrong with an observation, or None."""
        if isinstance(self.expected, Raises):
            return self._problem_with_exception(seen)
        if seen.raised is not None:
            return Difference("", self.expected, seen.raised)
        changed = self._with_named_part(difference(self.expected, seen.value, self.tolerance))
        if changed is None and seen.changed:
            return Difference(f"your function changed its input {self._named(seen.changed[0])}", None, None)
        return changed

    def _with_named_part(self, found: Difference | None) -> Difference | None:
        numbered = {f"part {i + 1} of {len(self.parts)}": f"`{name}`" for i, name in enumerate(self.parts)}
        return replace(found, part=numbered.get(found.part, found.part)) if found is not None else None

    def _problem_with_exception(self, seen: Observation) -> Difference | None:
        wanted = f"a {self.expected.kind}" + (
            f" that mentions {self.expected.part!r}" if self.expected.part else ""
        )
        if seen.raised is None:
            return Difference(
                f"expected {wanted}, yours returned {kind_of(seen.value)}", self.expected, seen.value
            )
        raised = seen.raised
        # a stub is not an answer, even where a RuntimeError is wanted, of which NotImplementedError is one
        if (
            not unwritten(raised)
            and self.expected.kind in raised.kinds
            and self.expected.part.lower() in raised.message.lower()
        ):
            return None
        return Difference(f"expected {wanted}", self.expected, raised)

    def diagnosis(
        self,
        seen: Observation,
        problem: Difference,
        mistakes: Sequence[Mistake],
        drive_mistake: Drives = observe,
    ) -> Diagnosis:
        """Words for a rejected observation; `drive_mistake` shows what a mistake does in this case."""
        if seen.raised is not None and unwritten(seen.raised):
            return Diagnosis("not written", f"`{self.drive.name}` is not written yet.")
        shown = {"inputs": self._inputs(), "printed": seen.printed}
        if not isinstance(problem.yours, Raised) and problem.words and not _about_inputs(problem):
            shown |= {"expected": _shown(problem.expected, problem), "yours": _shown(problem.yours, problem)}
        matching, part = self._matching(seen, problem, mistakes, drive_mistake)
        if matching:
            result = "The gradient of your result" if self.drive.wrt is not None else "Your result"
            what = f"{result} ({part}) is what one gets" if part else f"{result} is what one gets"
            what = "Your function raises what it does" if seen.raised else what
            headline = f"{what} with this mistake: {matching[0].name}."
            return Diagnosis(
                "wrong", headline, matching[0].hint, matching[0].name, **shown, candidates=matching
            )
        if isinstance(problem.yours, Raised):
            lead = f"{_sentence(problem.words)} Yours raised" if problem.words else "Your code raised"
            return Diagnosis(
                "wrong" if problem.words else "error", f"{lead} {words_for(problem.yours)}", **shown
            )
        words = NO_GRADIENT if self.drive.wrt is not None and problem.words == ALL_ZERO else problem.words
        if self.drive.wrt is not None:
            words = f"the gradient in {self._named(self.drive.wrt)}: {words}"
        return Diagnosis("wrong", _sentence(f"{problem.part}: {words}" if problem.part else words), **shown)

    def _matching(
        self, seen: Observation, problem: Difference, mistakes: Sequence[Mistake], drive_mistake: Drives
    ) -> tuple[tuple[Mistake, ...], str]:
        """The mistakes whose result equals this one; else those whose first wrong part does. And what to call the part.

        Of a dict the first wrong key is named in any case: with several numbers in it, the hint alone is too little.
        A learner who makes two mistakes at once, in two parts of the result, is told the first.
        """
        driven = [(mistake, drive_mistake(mistake.function, self.drive)) for mistake in mistakes]
        wrong = [(mistake, other, self.problem(other)) for mistake, other in driven]
        whole = [m for m, other, found in wrong if found is not None and _alike(seen, other, self.tolerance)]
        if whole or not problem.part:
            return tuple(whole), problem.part if isinstance(self.expected, dict) else ""
        near = self.tolerance
        same_part = [m for m, _, found in wrong if found is not None and _same_part(problem, found, near)]
        return tuple(same_part), problem.part

    def _inputs(self) -> str:
        names = self.parameters + [
            f"argument {i + 1}" for i in range(len(self.parameters), len(self.drive.inputs))
        ]
        if self.drive.scenario is not None:
            names = ["" for _ in self.drive.inputs]
        named = [*zip(names, self.drive.inputs, strict=False), *self.drive.kwargs.items()]
        return ", ".join(filter(None, (_summary(name, value) for name, value in named)))

    def _named(self, which: str | int) -> str:
        if isinstance(which, str) or which >= len(self.parameters):
            return f"`{which}`"
        return f"`{self.parameters[which]}`"


def unwritten(raised: Raised) -> bool:
    """Whether an exception says that there is no answer yet: a stub's own, or one that no line of an answer raised.

    Torch raises NotImplementedError too, for an operation that a type of tensor lacks.
    """
    return raised.kind == STUB and (raised.line is None or raised.message in ("", STUB_MESSAGE))


def words_for(raised: Raised) -> str:
    """An exception in words: type, message, and the learner's line."""
    where = (
        f"\nin your line {raised.line}: `{raised.code}`" if raised.line is not None and raised.code else ""
    )
    return f"{raised.kind}: {raised.message}{where}"


def _alike(one: Observation, other: Observation, tolerance: Tolerance) -> bool:
    if one.raised is not None or other.raised is not None:
        if one.raised is None or other.raised is None:
            return False
        return (one.raised.kind, one.raised.message) == (other.raised.kind, other.raised.message)
    return one.changed == other.changed and difference(other.value, one.value, tolerance) is None


def _same_part(one: Difference, other: Difference, tolerance: Tolerance) -> bool:
    """Whether two wrong results differ from the expected one at the same part first, and there in the same way."""
    if one.part != other.part or isinstance(other.yours, Raised):
        return False
    return difference(other.yours, one.yours, tolerance) is None


def _about_inputs(problem: Difference) -> bool:
    return problem.expected is None and problem.yours is None


def _shown(value: Any, problem: Difference) -> str:
    if isinstance(value, Raises):
        return f"{value.kind}" + (f" … {value.part} …" if value.part else "")
    return show(value)


def _summary(name: str, value: Any) -> str:
    """One input of a report: a shape, a number, or for anything larger just its type."""
    if hasattr(value, "shape"):
        return f"{name} {tuple(value.shape)}".strip()
    if value is None or isinstance(value, (bool, int, float, str, list, tuple, dict)):
        return f"{name}={show(value)}" if name else show(value)
    return f"{name} {type(value).__name__}".strip()


def _sentence(words: str) -> str:
    first = words[:1].upper() + words[1:]
    return first if first.endswith((".", "?", "!")) else f"{first}."
