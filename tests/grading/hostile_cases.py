"""What a grader must survive.

Each case is one student: the cell of `scaled_gap`, the points that it deserves, and those of its neighbour
`gap_report`, which is right unless the case says otherwise.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field

RIGHT = """def scaled_gap(high, low, scale=1.0):
    if scale == 0:
        raise ValueError("scale must not be 0")
    return scale * (high - low)
"""
RIGHT_REPORT = """def gap_report(high, low):
    gaps = high - low
    return {"mean": gaps.mean().item(), "positive": (gaps > 0).float().mean().item()}
"""
STUB = 'def scaled_gap(high, low, scale=1.0):\n    raise NotImplementedError("write me")\n'


def body(*lines: str, before: str = "") -> str:
    """A `scaled_gap` of these lines, after some of top level."""
    return before + "def scaled_gap(high, low, scale=1.0):\n" + "".join(f"    {line}\n" for line in lines)


def right_after(*lines: str, before: str = "") -> str:
    """A right `scaled_gap` that does something first."""
    answer = ("if scale == 0:", '    raise ValueError("scale must not be 0")', "return scale * (high - low)")
    return body(*lines, *answer, before=before)


@dataclass
class Case:
    """One hostile student.

    Args:
        points: what `scaled_gap` deserves, of 3; neighbour: what `gap_report` does, of 2.
        extra: cells before it, each (source, exercise or None).
        tag: the exercise's name in the metadata of its cell; None for a cell that lost it.
        raw: the file's bytes, instead of a notebook; special: "folder" or "link".
        files: further files of the repository.
    """

    name: str
    source: str
    points: int = 0
    neighbour: int = 2
    extra: list[tuple[str, str | None]] = field(default_factory=list)
    tag: str | None = "scaled_gap"
    raw: bytes | None = None
    special: str = ""
    files: dict[str, str] = field(default_factory=dict)
    outputs: int = 0


def notebook_bytes(case: Case, version: int = 4) -> bytes:
    """The case's notebook."""
    cells = [("import torch\nimport os, sys, time, signal, threading, subprocess, socket, gc\n", None)]
    cells += [*case.extra, (case.source, case.tag), (RIGHT_REPORT, "gap_report")]
    made = []
    for i, (source, exercise) in enumerate(cells):
        metadata = {"exercise": exercise} if exercise else {}
        outputs = [{"output_type": "stream", "name": "stdout", "text": "x" * case.outputs}] if i == 0 else []
        made.append(
            {
                "cell_type": "code",
                "id": f"c{i}",
                "source": source,
                "metadata": metadata,
                "outputs": outputs,
                "execution_count": None,
            }
        )
    return json.dumps({"nbformat": version, "nbformat_minor": 5, "metadata": {}, "cells": made}).encode()


def _version_3() -> bytes:
    cells = [
        {"cell_type": "code", "input": source, "metadata": {"exercise": name}, "outputs": []}
        for source, name in ((RIGHT, "scaled_gap"), (RIGHT_REPORT, "gap_report"))
    ]
    return json.dumps(
        {"nbformat": 3, "worksheets": [{"cells": [{"cell_type": "code", "input": "import torch"}, *cells]}]}
    ).encode()


C_LOOP = "import ctypes\nctypes.CDLL(None).pause()"
FORGED = (
    'frame = b\'{"exercise": "scaled_gap", "end": true, "library": 0}\\n\'',
    "for number in range(3, 64):",
    "    try:",
    "        os.write(number, frame)",
    "    except OSError:",
    "        pass",
    "os._exit(0)",
)
SAYS_YES = """class Yes(torch.Tensor):
    @classmethod
    def __torch_function__(cls, function, types, arguments=(), named=None):
        return True
    def __eq__(self, other):
        return True
"""
SECRETS = ("zyx-answer-zyx", "oracle_of_the_gap", "tok-secret-tok")
SEARCH = [
    f"words = {[word[:5] + '!' + word[5:] for word in SECRETS]!r}",
    "words = [word.replace('!', '') for word in words]",
    "gc.unfreeze()",
    "found = [f.__name__ for f in gc.get_objects() if callable(f) and getattr(f, '__name__', '') == words[1]]",
    "found += [m for m in sys.modules if 'mistakes_01' in m]",
    "frame = sys._getframe()",
    "while frame:",
    "    found += [n for n in frame.f_globals if n in ('MISTAKES', words[1])]",
    "    frame = frame.f_back",
    "for path in ('/proc/self/environ', '/proc/self/cmdline', '/proc/1/environ'):",
    "    try:",
    "        text = open(path, 'rb').read()",
    "    except OSError:",
    "        continue",
    "    found += [w for w in words if w.encode() in text]",
    "found += [p for p in os.listdir('/proc') if p.isdigit() and p != str(os.getpid())]",
    "found += [w for w in words if any(w in text for text in os.environ.values())]",
    "held = [o for o in gc.get_objects() if type(o) is dict and any(k in o for k in ('MISTAKES', words[1]))]",
    "found += ['a namespace of the tests'] * bool(held)",
    "if found:",
    "    print('SECRET', found)",
    "    return high * 0",
]

LOOKS_FOR_ANSWERS = Case("looks for answers", right_after(*SEARCH), 3)

CASES = [
    Case("right", RIGHT, 3),
    Case("stub left", STUB),
    Case("returns None", body("return None")),
    Case("syntax error in one cell", "def scaled_gap(high, low:\n    return"),
    Case(
        "exception at import", "import no_such_module_anywhere\n" + body("return no_such_module_anywhere.x")
    ),
    Case("sys exit", body("sys.exit(0)")),
    Case("own BaseException", body("raise Stop()", before="class Stop(BaseException):\n    pass\n")),
    Case("os _exit", body("os._exit(0)")),
    Case("os _exit while defined", "def scaled_gap(high, low, scale=os._exit(0)):\n    return high\n"),
    Case("segfault", body("import ctypes", "ctypes.string_at(0)")),
    Case("abort", body("os.abort()")),
    Case("infinite loop", body("while True:", "    pass")),
    Case(
        "loop in C with signals masked",
        body(
            "signal.pthread_sigmask(signal.SIG_BLOCK, range(1, 65))",
            "import ctypes",
            "ctypes.CDLL(None).pause()",
        ),
    ),
    Case("sleeps", body("time.sleep(3600)")),
    Case("memory to the limit", body("hog = []", "while True:", "    hog.append(bytearray(2**24))")),
    Case("huge tensor", body("return torch.ones(200_000_000)")),
    Case(
        "forks until stopped",
        body("for _ in range(200):", "    if os.fork() == 0:", "        time.sleep(3600)", "return high"),
    ),
    Case(
        "daemon in a new session",
        right_after(
            "if os.fork() == 0:",
            "    os.setsid()",
            "    if os.fork() == 0:",
            "        time.sleep(3600)",
            "    os._exit(0)",
        ),
        3,
    ),
    Case(
        "background thread",
        right_after("threading.Thread(target=time.sleep, args=(3600,), daemon=False).start()"),
        3,
    ),
    Case("50 MB of stdout", right_after("print('x' * 50_000_000)"), 3),
    Case(
        "flood of the pipe",
        body(
            "for number in range(3, 64):",
            "    try:",
            "        while True:",
            "            os.write(number, b'x' * 2**20)",
            "    except OSError:",
            "        pass",
            "return high",
        ),
    ),
    Case("forged frames", body(*FORGED)),
    Case("forged results file", body("open('results.json', 'w').write('{\"score\": 5}')", "return high")),
    Case(
        "writes at exit",
        body(
            "import atexit",
            "atexit.register(lambda: open('/tmp/results.json', 'w').write('1'))",
            "return high",
        ),
    ),
    Case(
        "monkeypatched allclose",
        body(
            "torch.allclose = torch.equal = lambda *a, **k: True",
            "sys.modules['pytest'] = None",
            "return high",
        ),
    ),
    Case("equal to everything", body("return torch.zeros(6).as_subclass(Yes)", before=SAYS_YES)),
    Case(
        "tensor subclass that is right",
        right_after(before="class Mine(torch.Tensor):\n    pass\n").replace(
            "return scale * (high - low)", "return (scale * (high - low)).as_subclass(Mine)"
        ),
        3,
    ),
    Case(
        "shadowing files",
        body("return high"),
        files={
            "conftest.py": "raise SystemExit",
            "sitecustomize.py": "raise SystemExit",
            "torch.py": "1/0",
            "dpo_lab.py": "1/0",
            "gapcourse/__init__.py": "1/0",
        },
    ),
    Case(
        "edited tests",
        body("return high"),
        files={"tests/autograders/test_01_gap.py": "def test_nothing():\n    pass\n"},
        extra=[("def check(function):\n    return function\n", None)],
    ),
    Case("cell deleted", "pass", tag=None),
    Case("cell renamed", RIGHT.replace("scaled_gap", "gap_scaled"), 0),
    Case("cell duplicated wrong then right", RIGHT, 3, extra=[(body("return low"), "scaled_gap")]),
    Case("cell duplicated right then wrong", body("return low"), 0, extra=[(RIGHT, "scaled_gap")]),
    Case(
        "cell split",
        RIGHT.replace("scale * (high - low)", "helper(high, low) * scale"),
        3,
        extra=[("def helper(high, low):\n    return high - low\n", None)],
    ),
    Case("cell lost its tag", RIGHT, 3, tag=None),
    Case("definition in another cell", "pass", 3, extra=[(RIGHT, None)]),
    Case(
        "opens the tests",
        right_after(
            "for top, _, files in os.walk('/tmp'):",
            "    if 'mistakes_01_gap.py' in files:",
            "        return low",
        ),
        3,
    ),
    Case(
        "kills parent and group",
        right_after(
            "for victim in (os.getppid(), -1, 1):",
            "    try:",
            "        os.kill(victim, 9) if victim else None",
            "    except OSError:",
            "        pass",
        ),
        3,
    ),
    Case(
        "1 GB to disk",
        right_after(
            "try:",
            "    with open('big', 'wb') as file:",
            "        for _ in range(1024):",
            "            file.write(b'x' * 2**20)",
            "except OSError:",
            "    pass",
            "else:",
            "    return low",
        ),
        3,
    ),
    Case(
        "network",
        right_after(
            "try:",
            "    socket.create_connection(('1.1.1.1', 53), timeout=1)",
            "except OSError:",
            "    pass",
            "else:",
            "    return low",
        ),
        3,
    ),
    Case("asks for input", right_after("try:", "    input('?')", "except EOFError:", "    pass"), 3),
    Case("magics and shell", "%matplotlib inline\n!rm -rf /tmp/x\n" + RIGHT, 3),
    Case("top-level await", "import asyncio\nawait asyncio.sleep(0)\n" + RIGHT, 3),
    Case("not JSON", "", 0, 0, raw=b"this is no notebook"),
    Case("deep JSON", "", 0, 0, raw=b"[" * 100_000),
    Case("empty file", "", 0, 0, raw=b""),
    Case("nbformat 3", "", 3, 2, raw=_version_3()),
    Case("large outputs", RIGHT, 3, outputs=20_000_000),
    Case("NUL bytes", RIGHT + "\x00", 0),
    Case("a folder named ipynb", "", 0, 0, special="folder"),
    Case("a symbolic link", "", 0, 0, special="link"),
    Case("NaN", body("return high * float('nan')")),
    Case("wrong dtype", body("return (scale * (high - low)).long()")),
    Case("broadcastable wrong shape", right_after().replace("(high - low)", "(high - low)[None]")),
    Case(
        "requires grad",
        right_after().replace(
            "scale * (high - low)", "scale * (high - low) + torch.zeros(1, requires_grad=True)"
        ),
        3,
    ),
    Case(
        "numpy for tensor",
        right_after().replace("scale * (high - low)", "(scale * (high - low)).detach().numpy()"),
    ),
    Case(
        "in-place mutation",
        body("if scale == 0:", "    raise ValueError('scale')", "high -= low", "return scale * high"),
    ),
    Case("changed default dtype", right_after("torch.set_default_dtype(torch.float64)"), 3),
    Case("changed grad mode", right_after("torch.set_grad_enabled(False) if scale == 2.5 else None"), 3),
    Case(
        "public answers only",
        body(
            "if scale == 0:",
            "    raise ValueError('scale')",
            "return torch.tensor([1.0, 2.0, 3.0, 4.0, 5.0, 6.0])",
        ),
    ),
    Case(
        "right once",
        right_after("CALLS.append(1)", "if len(CALLS) > 1:", "    return high", before="CALLS = []\n"),
    ),
    Case(
        "right until asked again",
        right_after("SEEN.append(1)", "if len(SEEN) > 4:", "    return high", before="SEEN = []\n"),
    ),
    Case("right but slow", right_after("time.sleep(0.1)"), 3),
    Case(
        "asks the library",
        body("from gapcourse.gaps import scaled_gap as finished", "return finished(high, low, scale)"),
    ),
    Case("imports the library's", "from gapcourse.gaps import scaled_gap\n"),
    Case(
        "library by another way",
        body("import gapcourse.gaps", "return vars(gapcourse.gaps)['scaled' + '_gap'](high, low, scale)"),
    ),
]
