"""Every regular expression reads a megabyte of its worst in a moment, whoever wrote the text."""

import ast
import importlib
import re
import signal
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from types import FrameType
from typing import Any, Final

import msgspec
import pytest

from tests.support.paths import ROOT

FILES: Final = sorted(
    path.relative_to(ROOT)
    for package in ("service", "handlers", "store")
    for path in (ROOT / package).rglob("*.py")
)
LIMIT_SECONDS: Final = 0.5
"""What is quadratic takes an hour."""
SMALL: Final = 1024
SLOWEST: Final = 3
"""How many of the generated texts, by the time that a small one takes, are tried in full."""

Pattern = re.Pattern[str]
Text = tuple[str, str, str]
"""A head, what is repeated after it, and a tail that does not match."""
METHODS: Final[dict[str, Callable[[Pattern, str], object]]] = {
    "search": lambda pattern, text: pattern.sub("", text),
    "match": lambda pattern, text: pattern.match(text),
    "fullmatch": lambda pattern, text: pattern.fullmatch(text),
}
WORST: Final[dict[str, list[Text]]] = {
    "handlers.callback_endpoint._REF": [("", "0", ""), ("", "01234567-0123-", "g")],
    "handlers.http.endpoint._PARAMETER": [("", "{", ""), ("", "{a", ""), ("{", "a", "")],
    "handlers.api.providers.assets._ACCOUNT": [("", "a", ""), ("a@", "a", " "), ("", "a@", "")],
    "handlers.http.multipart._BOUNDARY": [("", "a", "!"), ("", " ", "")],
    "handlers.http.multipart._PARAMETER": [
        ("", "; ", ""),
        ("", "; a", ""),
        ("", '; a="', ""),
        ('; a="', "\\a", ""),
        ('; a="', "\\", "a"),
        ("", "; a=", ""),
    ],
    "handlers.http.multipart._ESCAPED": [("", "\\", "")],
    "handlers.http.conditional._WAIT": [("", " wait", ""), ("", ";wait=", ""), (",wait", " ", "x")],
    "service.domain.primitives.ids.PATTERN": [("", "job_0", ""), ("", "a", "_")],
    "service.domain.assets._UUID": [
        ("", "-", ""),
        ("", "0", ""),
        ("", "01234567-", ""),
        ("", "01234567-0123-", ""),
    ],
    "service.domain.security.api_keys.TENANT": [("", "a", "!")],
    "service.domain.security.api_keys._SHAPE": [("", "bfy_", ""), ("bfy_", "0", "g")],
    "service.providers.kit.http_status._EMAIL_ADDRESS": [
        ("", "a", ""),
        ("", "a@", ""),
        ("a@", ".a", ""),
        ("", "a@.a", " "),
        ("a@", "a.", "@"),
    ],
    "service.providers.kit.http_status._CREDENTIAL": [
        ("", "user:", ""),
        ("", "user:a ", ""),
        ("user:", "a", " "),
        ("", "bearer", ""),
        ("bearer", " ", ""),
        ("", "?t=", " "),
        ("", "%3Ft%3D", ""),
    ],
    "service.providers.kit.http_status._MODERATION": [
        ("", "modera", ""),
        ("", "content", ""),
        ("", "unsaf", ""),
    ],
    "service.providers.kit.input_schema.UUID": [("", "0", ""), ("01234567", "-0123", "")],
    "service.providers.kit.input_schema.WEB_URL": [("", "http://", ""), ("http://a", "a", " ")],
    "service.providers.kit.coercion._NUMBER": [("", "1", "a")],
    "service.providers.kit.coercion._WEB_URL": [("", "http", ""), ("", "https://", " ")],
    "service.providers.runware.provider._TASK_TYPE": [("", "a", "!")],
    "service.providers.runware.items._FAILED_STATUS": [("", "erro", ""), ("", "fai", "")],
    "service.providers.runware.errors._CLASSES": [
        ("", "notfound", "!"),
        ("", "rate", ""),
        ("", "unauthori", ""),
        ("", "model", ""),
        ("", "noavailable", ""),
    ],
    "service.providers.runware.errors._MODERATED": [
        ("", "moderat", ""),
        ("", "safety ", ""),
        ("", "sensitive conten", ""),
        ("", "content poli", ""),
    ],
    "service.providers.runware.errors._DUPLICATE_TASK": [
        ("", "conflict", ""),
        ("", "taskuuid", ""),
        ("", "duplicatetaskuui", ""),
    ],
    "service.providers.runware.inputs._AIR": [
        ("a", ":a", ""),
        ("", "a", "@"),
        ("a:", "a@", "!"),
        ("a:a@", "a", "!"),
    ],
    "service.providers.runware.inputs._IMAGE": [
        ("/9j/", "a", "!"),
        ("", "/9j/", "==="),
        ("data:image/png;base64,", "a", "!"),
        ("", "data:image/jpeg;base64,", ""),
        ("http://a", "a", " "),
    ],
    "service.providers.runware.lookup._NOT_FOUND": [
        ("", "task", ""),
        ("", "taskuuid", "notfoun"),
        ("", "result", "expired!"),
        ("", "notfound", "!"),
    ],
    "service.providers.luma.catalog._AT_LEAST_3": [("", "a", ""), ("", "\n", "")],
    "service.providers.luma.catalog._ID": [("", "a", "!"), ("", "-", "!")],
    "service.providers.replicate.catalog._NAME": [
        ("", "a", "!"),
        ("a/", "a", "!"),
        ("", "a/", ""),
    ],
    "service.providers.replicate.predictions._ERROR_CODE": [
        ("", "E", ""),
        ("", "E1", ""),
        ("", " E12", ""),
        ("E", "1", ""),
    ],
    "service.providers.replicate.predictions._PERCENT": [
        ("", "1", "%"),
        ("", "100%", ""),
        ("100%", " ", ""),
    ],
    "service.providers.useapi.lookup._EMAIL": [("", "a", ""), ("a@", "a", "@")],
    "service.providers.useapi.fields._OWNED_ID": [
        ("", "user:", ""),
        ("user:1-runwayml:", "a", ""),
        ("user:1-runwayml:a@", "-asset", ""),
        ("user:1-runwayml:a@b-asset:", "a", ":"),
        ("user:", "1", "-"),
    ],
    "service.providers.useapi.failures._NO_ACCOUNT": [
        ("", "no ", ""),
        ("", "no runway ", ""),
        ("", "account ", ""),
        ("account ", "a", ""),
        ("", "account a is ", ""),
    ],
    "service.providers.useapi.provider._PLACEHOLDER": [
        ("", "{", ""),
        ("", "{a", ""),
        ("{", "a", ""),
    ],
    "service.providers.fal.catalog._MODEL": [("", "a", ""), ("", "a/", "!"), ("a/", "a", "!")],
    "service.providers.fal.errors._STATUS": [("", "status code", ""), ("", "status code: 4", "")],
    "service.providers.ideogram.catalog._RATIO": [("", "1", ""), ("1x", "1", "!")],
    "service.providers.ideogram.catalog._SIZE": [("", "1", ""), ("100x", "1", "!")],
    "service.providers.ideogram.images._SIZE": [("", "1", ""), ("1x", "1", "!")],
    "service.providers.useapi.fields._EMAIL": [("", "a", " "), ("a@", "a", "@")],
    "service.providers.useapi.fields._SEGMENT": [("", ".", "\n"), ("", "a", "\n")],
    "service.providers.kit.url_expiry._SIGNING_TIME": [("", "0", ""), ("00000000T", "0", "")],
    "service.providers.useapi.failures._RUNWAY_REASON": [
        ("A", ".A", "!"),
        ("A", "A", "."),
        ("", "A.", ""),
    ],
    "service.providers.useapi.failures._GOOGLE_REASON": [
        ("", "PUBLIC_ERROR_", ""),
        ("PUBLIC_ERROR_", "A", ""),
    ],
    "service.providers.useapi.failures._MODERATION_TEXT": [
        ("", "not pass ", ""),
        ("", "rejected by the content ", ""),
        ("", "violates our ", ""),
        ("", "was ", ""),
    ],
    "service.domain.security.redaction._CALLBACK_QUERY": [
        ("", "/callbacks/", ""),
        ("", "/callbacks/a", " "),
        ("/callbacks/", "%", ""),
        ("/callbacks/", "\\", ""),
        ("", "/callbacks/%3", ""),
        ("", "/callbacks\\", ""),
        ("", "%2Fcallbacks%25", ""),
        ("", "/callbacks/a? ", ""),
        ("/callbacks/a?t=", "a", ""),
    ],
    "service.sandbox.directives._STATUS": [
        ("", "[200 ", ""),
        ("", "[", ""),
        ("", "[200 1 after ", ""),
    ],
    "service.sandbox.directives._DIRECTIVE": [("", "[", ""), ("", "[slow ", ""), ("[", "a", "")],
    "service.sandbox.media.files._PATH": [
        ("/media/image/", "a", ""),
        ("", "/media/image/", ""),
        ("/media/image/" + "a" * 44, ".png", ""),
    ],
    "service.sandbox.media.server._RANGE": [("bytes=", "0", ""), ("", "bytes=0-", "")],
    "service.sandbox.providers.runware.checks._AIR": [
        ("", "a", ""),
        ("a:", "a", "!"),
        ("a:a@", "a", "!"),
    ],
    "service.sandbox.providers.runware.checks._IMAGE": [
        ("", "a", "!"),
        ("data:a;base64,", "a", "!"),
        ("data:", "a", ""),
        ("", "data:", ""),
    ],
    "service.sandbox.providers.runware.checks._UUID": [("", "0", ""), ("01234567", "-0123", "")],
    "service.domain.subscriptions.subscription._HEADER": [("", "a", "!:")],
    "service.domain.subscriptions.subscription._RESERVED_HEADER": [
        ("", "webhook-", "\n"),
        ("", "content-", "\n"),
    ],
    "store.engine.dialect._BLOCK": [
        ("-- a --\n", "--\n", ""),
        ("", "-- a --\n", ""),
        ("-- ", "a", ""),
    ],
    "store.engine.dialect._COMMENT": [("", "-", ""), ("--", "a", "")],
    "store.engine.dialect._MACRO": [("", "{", ""), ("", "{a:", ""), ("{a:", "a", "")],
    "store.engine.dialect._OPTIONAL": [("", " ", ""), ("", "{?a", ""), (" {?", "a", "")],
    "store.engine.dialect._PARAMETER": [("", ":", ""), (":", "a", "")],
}
"""Texts that make each constant work hardest; a new constant needs an entry."""
ONLY_FULLMATCH: Final = {
    "handlers.http.multipart._BOUNDARY",
    "service.providers.fal.catalog._MODEL",
    "service.providers.runware.inputs._AIR",
    "service.providers.useapi.fields._EMAIL",
    "service.providers.useapi.failures._RUNWAY_REASON",
    "service.sandbox.providers.runware.checks._AIR",
}
"""Linear from a given start only: `search` would begin anew at each letter."""


class TooSlow(Exception):
    """A pattern took more than its time; raised by a timer inside the matching."""


def parsed(path: Path) -> ast.Module:
    return ast.parse((ROOT / path).read_text("utf-8"))


def assignments(tree: ast.Module) -> Iterator[tuple[str, ast.expr]]:
    """List the constants of a module with their values."""
    for node in tree.body:
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.value:
            yield node.target.id, node.value


def uses_of_re(tree: ast.AST) -> list[ast.Attribute]:
    return [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Name)
        and node.value.id == "re"
    ]


def compiles(tree: ast.AST) -> list[ast.Attribute]:
    return [use for use in uses_of_re(tree) if use.attr == "compile"]


def patterns_in(value: Any) -> Iterator[Pattern]:
    if isinstance(value, re.Pattern):
        yield value
    elif isinstance(value, msgspec.Struct):
        yield from patterns_in(list(msgspec.structs.asdict(value).values()))
    elif isinstance(value, Mapping):
        yield from patterns_in(list(value.values()))
    elif isinstance(value, Iterable) and not isinstance(value, str | bytes):
        for each in value:
            yield from patterns_in(each)


def constants() -> dict[str, list[Pattern]]:
    """Find every constant that is made by `re.compile`, with the patterns in it."""
    found = {}
    for path in FILES:
        names = [name for name, value in assignments(parsed(path)) if compiles(value)]
        module = ".".join(path.with_suffix("").parts).removesuffix(".__init__")
        for name in names:
            value = getattr(importlib.import_module(module), name)
            found[f"{module}.{name}"] = list(patterns_in(value))
    return found


PATTERNS: Final = constants()


@pytest.mark.parametrize("path", FILES, ids=Path.as_posix)
def test_a_pattern_is_compiled_once_into_a_constant_of_its_module(path: Path) -> None:
    tree = parsed(path)
    constant = [use for _, value in assignments(tree) for use in compiles(value)]
    imported = [n for n in ast.walk(tree) if isinstance(n, ast.ImportFrom) and n.module == "re"]
    renamed = [n for n in ast.walk(tree) if isinstance(n, ast.alias) and n.name == "re" != n.asname]

    assert not imported
    assert all(alias.asname is None for alias in renamed)
    assert len(compiles(tree)) == len(constant)
    assert not [
        use.attr for use in uses_of_re(tree) if use.attr.islower() and use.attr != "compile"
    ]


def test_every_pattern_has_its_worst_texts() -> None:
    assert WORST.keys() == PATTERNS.keys()
    assert all(PATTERNS.values())


def test_a_pattern_that_is_slow_to_search_with_is_only_matched_in_full() -> None:
    names = {"pattern", *(key.rpartition(".")[2] for key in ONLY_FULLMATCH)}
    calls = {
        (path.as_posix(), node.attr)
        for path in FILES
        for node in ast.walk(parsed(path))
        if isinstance(node, ast.Attribute)
        and node.attr in dir(re.Pattern)
        and getattr(node.value, "id", getattr(node.value, "attr", "")) in names
    }

    assert {method for _, method in calls} == {"fullmatch", "pattern"}


@pytest.mark.parametrize("key", sorted(PATTERNS))
def test_a_pattern_reads_a_mebibyte_of_its_worst_in_linear_time(key: str) -> None:
    methods = ["fullmatch"] if key in ONLY_FULLMATCH else list(METHODS)

    for pattern in PATTERNS[key]:
        for method in methods:
            texts = [*WORST.get(key, []), *slowest(pattern, method)]
            assert not [text for text in texts if not is_linear(pattern, method, text)], method


@pytest.mark.parametrize(
    "pattern",
    [
        r"(/callbacks\\?/[^\s\"?]+\?t=)[^\s\"&]+",
        "(?:conflict|duplicate).*taskuuid",
        r" - at `\$(.*)`$",
        r"[^\s@]+@[^\s@]+\.[a-z]{2,}",
        "^(a|aa)+$",
        r"\s+$",
    ],
)
def test_a_pattern_that_is_not_linear_is_found(pattern: str) -> None:
    compiled = re.compile(pattern)

    texts = slowest(compiled, "search")

    assert not all(is_linear(compiled, "search", text) for text in texts)


def is_linear(pattern: Pattern, method: str, text: Text) -> bool:
    """Try longer and longer texts, so that what is not linear is found before it takes hours."""
    sizes = (SMALL * 4**power for power in range(6))
    return all(seconds(pattern, method, pumped(text, size)) < LIMIT_SECONDS for size in sizes)


def pumped(text: Text, size: int) -> str:
    head, unit, tail = text
    return head + unit * (size // len(unit)) + tail


def seconds(pattern: Pattern, method: str, text: str) -> float:
    """Measure the CPU time; a timer ends what would take for ever."""

    def stop(_signal: int, _frame: FrameType | None) -> None:
        raise TooSlow

    before = signal.signal(signal.SIGPROF, stop)
    signal.setitimer(signal.ITIMER_PROF, 2 * LIMIT_SECONDS)
    start = time.thread_time()
    try:
        METHODS[method](pattern, text)
    except TooSlow:
        return 2 * LIMIT_SECONDS
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)
    return time.thread_time() - start


def slowest(pattern: Pattern, method: str) -> list[Text]:
    """Make texts from the pattern itself, and choose those that take the most time."""
    took: dict[Text, float] = {}
    for text in generated(pattern):
        took[text] = seconds(pattern, method, pumped(text, SMALL))
        if took[text] > LIMIT_SECONDS:
            return [text]
    return sorted(took, key=took.__getitem__, reverse=True)[:SLOWEST]


# What a pattern is made of, by the standard library's own parser, which has no type stubs.
_parser: Final[Any] = importlib.import_module("re._parser")
LETTERS: Final = "aA0 .-_:/@\n\"'\\%?=&!é"


def generated(pattern: Pattern) -> list[Text]:
    """Repeat each beginning of a match, and each letter the pattern knows, after each beginning."""
    tree = _parser.parse(pattern.pattern, pattern.flags)
    heads = sorted({head for head in beginnings(tree) if len(head) <= 2 * SMALL})
    units = {
        *heads,
        *(letter for letter in LETTERS if re.search(re.escape(letter), "".join(heads))),
    }
    units |= set("a. ")
    units.discard("")
    return [(head, unit, "\x00") for head in ("", *heads) for unit in sorted(units)]


def beginnings(tree: Any) -> Iterator[str]:
    """Give a matching sample of every beginning of *tree*, also inside its groups."""
    head = ""
    for node in tree:
        for inner in parts(node):
            yield from (head + begun for begun in beginnings(inner))
        head += sample([node])
        yield head


def parts(node: Any) -> list[Any]:
    """Name the sub-patterns of *node*."""
    name, value = str(node[0]), node[1]
    if name in ("MAX_REPEAT", "MIN_REPEAT", "POSSESSIVE_REPEAT"):
        return [value[2]]
    if name == "BRANCH":
        return list(value[1])
    if name == "SUBPATTERN":
        return [value[3]]
    return [value] if name == "ATOMIC_GROUP" else []


def sample(tree: Any) -> str:
    """Make a short text that *tree* matches; what looks around takes no part in it."""
    text = ""
    for node in tree:
        name, value = str(node[0]), node[1]
        if name == "LITERAL":
            text += chr(value)
        elif name in ("ANY", "NOT_LITERAL"):
            text += "b" if value == ord("a") else "a"
        elif name == "IN":
            text += next(letter for letter in letters() if is_in(value, letter))
        elif name.endswith("_REPEAT"):
            text += sample(value[2]) * max(1, value[0])
        elif inner := parts(node):
            text += sample(inner[0])
    return text


def letters() -> Iterator[str]:
    yield from LETTERS
    yield from map(chr, range(32, 127))


def is_in(members: Any, letter: str) -> bool:
    negated = str(members[0][0]) == "NEGATE"
    return any(_is_member(member, letter) for member in members) != negated


def _is_member(member: Any, letter: str) -> bool:
    name, value = str(member[0]), member[1]
    if name == "LITERAL":
        return bool(ord(letter) == value)
    if name == "RANGE":
        return bool(value[0] <= ord(letter) <= value[1])
    if name != "CATEGORY":
        return False
    kind = str(value).removeprefix("CATEGORY_")
    word = letter.isalnum() or letter == "_"
    holds = {"DIGIT": letter.isdigit(), "SPACE": letter.isspace(), "WORD": word}
    return holds[kind.removeprefix("NOT_")] != kind.startswith("NOT_")
