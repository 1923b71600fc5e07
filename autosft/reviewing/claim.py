"""What a review says: claims, each a sentence with its numbers."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from autosft.disk import writing
from autosft.run_folder import as_json

FORMAT = 1

#: "good" and "bad" news, what is merely so, and what cannot be told from what is known.
LEVELS = ("good", "bad", "fact", "unknown")

_MARKS = {"good": "+", "bad": "!", "fact": "-", "unknown": "?"}
_WIDTH = 118


@dataclass(frozen=True)
class Claim:
    """One claim.

    Attributes:
        topic: "sweep", "winner", "luck", "importance", "edges", "waste", "rungs", "further" or "next".
        sentence: In plain words, with its numbers.
        numbers: The same numbers by name.
        level: One of `LEVELS`.
    """

    topic: str
    sentence: str
    numbers: Mapping[str, Any] = field(default_factory=dict)
    level: str = "fact"


@dataclass(frozen=True)
class Review:
    """What can be said about a sweep.

    Attributes:
        name: Of the sweep.
        claims: What decides most first.
        next_space: A search space in YAML for the best arm, None where there is too little to go by.
        next_spaces: The same for every arm.
    """

    name: str
    claims: tuple[Claim, ...]
    next_space: str | None = None
    next_spaces: Mapping[str, str] = field(default_factory=dict)

    def topic(self, name: str) -> list[Claim]:
        """Returns the claims about one topic."""
        return [claim for claim in self.claims if claim.topic == name]

    def write_next_spaces(self, path: Path) -> list[Path]:
        """Writes the next spaces for `space=`; returns the files, none where there is too little to go by.

        Args:
            path: A file that ends in .yaml or .yml gets the best arm's; a folder gets one file a trainer, of its best
                arm, which `fit` and `resume` take as it is.
        """
        if path.suffix in (".yaml", ".yml"):
            chosen = {path: self.next_space} if self.next_space is not None else {}
        else:
            chosen = {}
            for arm, text in self.next_spaces.items():
                chosen.setdefault(path / f"{arm.partition('/')[0] or 'sweep'}.yaml", text)
        for file, text in chosen.items():
            with writing(file):
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_text(text, encoding="utf-8")
        return [*chosen]

    def to_json(self) -> dict[str, Any]:
        """Returns what `autosft review --json` prints."""
        row = {"format": FORMAT, "name": self.name, "claims": [asdict(claim) for claim in self.claims]}
        found: dict[str, Any] = as_json(json.loads(json.dumps(row, default=_plain)))
        return found | {"next_space": self.next_space, "next_spaces": dict(self.next_spaces)}

    def __str__(self) -> str:
        lines, last = [f"Review of {self.name}"], ""
        for claim in self.claims:
            title = claim.topic.capitalize() if claim.topic != last else ""
            indent = " " * 13
            text = textwrap.wrap(claim.sentence, _WIDTH - len(indent), break_long_words=False, break_on_hyphens=False)
            lines.append(f"{title:<11}{_MARKS[claim.level]} {text[0] if text else ''}")
            lines += [indent + line for line in text[1:]]
            last = claim.topic
        return "\n".join(lines)


def _plain(value: object) -> Any:
    """Returns NumPy's numbers as Python's, and anything else as text."""
    item = getattr(value, "item", None)
    return item() if callable(item) else str(value)
