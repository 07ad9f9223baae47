"""Colors for blocks of LAMMPS input, which Pygments does not know."""

from __future__ import annotations

from typing import ClassVar

from pygments import token
from pygments.lexer import RegexLexer, bygroups
from pygments.lexers import LEXERS

__all__ = ["LammpsLexer"]


class LammpsLexer(RegexLexer):
    """LAMMPS input: a command at the beginning of a line, its arguments, comments, variables."""

    name = "LAMMPS"
    aliases: ClassVar = ["lammps"]
    filenames: ClassVar = ["in.*", "*.lmp"]
    tokens: ClassVar = {
        "root": [
            (r"#.*$", token.Comment),
            (r"^(\s*)(\w+)", bygroups(token.Whitespace, token.Keyword)),
            (r"\$\{\w+\}|\$\w|\bv_\w+|\b[cf]_\w+(\[[\d*]+\])*", token.Name.Variable),
            (r"\"[^\"\n]*\"|'[^'\n]*'", token.String),
            (r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?(?![\w.])", token.Number),
            (r"&$", token.Punctuation),
            (r"[^\s#$\"'&]+", token.Text),
            (r".|\n", token.Text),
        ]
    }


# Pygments finds lexers of others by entry points of installed packages, or in this table.
LEXERS["LammpsLexer"] = (
    __name__,
    LammpsLexer.name,
    tuple(LammpsLexer.aliases),
    tuple(LammpsLexer.filenames),
    (),
)
