"""The words in which the two databases differ, and the file of queries read with them."""

import re
from collections.abc import Mapping
from importlib.resources import files
from typing import Final

import msgspec

_BLOCK: Final = re.compile(r"^-- (\w+) --\n(?:--.*\n)+", re.MULTILINE)


class Dialect(msgspec.Struct, frozen=True, kw_only=True):
    """*words* replace `{word}`, *lists* `{word:parameter}` for parameters that are lists."""

    words: Mapping[str, str]
    lists: Mapping[str, str]

    def translate(self, text: str) -> str:
        for word, sql in self.words.items():
            text = text.replace("{" + word + "}", sql)
        for word, sql in self.lists.items():
            text = re.sub(r"\{" + word + r":(\w+)\}", sql, text)
        return text


def read_queries(dialect: Dialect) -> dict[str, str]:
    """Read `queries.sql` into statements by name, in the words of *dialect*."""
    parts = _BLOCK.split(files("store").joinpath("queries.sql").read_text("utf-8"))
    names, texts = parts[1::2], parts[2::2]
    return {name: dialect.translate(text).strip() for name, text in zip(names, texts, strict=True)}


def read_migrations(dialect: Dialect) -> list[tuple[str, list[str]]]:
    """Read the numbered migrations, each as a list of statements, in their order."""
    folder = files("store").joinpath("migrations")
    found = sorted((f for f in folder.iterdir() if f.name.endswith(".sql")), key=lambda f: f.name)
    return [(f.name, _statements(dialect.translate(f.read_text("utf-8")))) for f in found]


def _statements(text: str) -> list[str]:
    bare = re.sub(r"--.*", "", text)
    return [statement.strip() for statement in bare.split(";") if statement.strip()]
