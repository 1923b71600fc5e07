"""What breaks a page that does not escape what others wrote, and the run that learned from it."""

from __future__ import annotations

from dataclasses import dataclass

import autosft

SCRIPT = "<script>alert(1)</script>"
HOSTILE = (
    f"{SCRIPT} my card",
    '</script><img src=x onerror="alert(2)"> my transfer',
    "\u202e turned \u2028 around </style> & more",
    "\u05e9\u05dc\u05d5\u05dd \u05e2\u05d5\u05dc\u05dd card",
    "w" * 5000,
)
LABELS = ("<b>card</b> & co", "trans\"fer's", "\u05d1\u05e7\u05e9\u05d4")


@dataclass(frozen=True)
class Finished:
    """A finished run, the rows that it was proven on, and what was noted on the way."""

    result: autosft.Result
    test: list[dict[str, str]]
    notes: list[str]

    @property
    def html(self) -> str:
        return self.result.report.read_text(encoding="utf-8")
