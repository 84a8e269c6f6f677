"""The rules of a SARIF log: one for each category, the same in every log."""

from __future__ import annotations

from typing import Any

from hashscan.model import ACTING_CATEGORIES, CATEGORIES, TEST_CATEGORY

_OTHER = "other"

_MEANINGS = {
    "baseline": ("Known child-abuse material", "illegal wherever it is, by an international baseline"),
    "A1": ("Known child-abuse material, A1", "prepubescent minor, sex act"),
    "A2": ("Known child-abuse material, A2", "prepubescent minor, lascivious exhibition"),
    "B1": ("Known child-abuse material, B1", "pubescent minor, sex act"),
    "B2": ("Known child-abuse material, B2", "pubescent minor, lascivious exhibition"),
    "other": ("Content of a hash list, for review", "a list has it under no category that accuses"),
    "known-good": ("Content known to be good", "a list of known-good content has it"),
    "test": ("Test entry", "a harmless entry that is there for tests"),
}

_HELP = (
    "Nobody needs to look at the file. Act by the notice-and-takedown rules of your country; the record says "
    "which entry of which list it matches."
)


def rule_of(category: str) -> str:
    """Return the id of the rule for a category; an unknown category is for review."""
    return f"known-{category if category in _MEANINGS else _OTHER}"


def _rule(category: str) -> dict[str, Any]:
    short, full = _MEANINGS[category]
    accuses = category in ACTING_CATEGORIES and category != TEST_CATEGORY
    return {
        "id": rule_of(category),
        "name": "Known" + "".join(part.capitalize() for part in category.split("-")),
        "shortDescription": {"text": f"{short}."},
        "fullDescription": {"text": f"By a hash list: {full}."},
        "help": {"text": _HELP},
        "defaultConfiguration": {"level": "error" if accuses else "note"},
        "properties": {
            "category": category,
            "tags": ["security"] if accuses else [],
            **({"security-severity": "10.0"} if accuses else {}),
        },
    }


RULES = [_rule(category) for category in CATEGORIES]
RULE_INDEX = {rule["id"]: place for place, rule in enumerate(RULES)}

NOTICES = [
    {
        "id": kind,
        "shortDescription": {"text": words},
        "fullDescription": {"text": words},
        "help": {
            "text": "What is said of it has the reason. Until that is mended, its content may be on a list."
        },
    }
    for kind, words in (
        ("incomplete", "The scan did not check everything."),
        ("unreadable", "A file whose bytes could not be read."),
        ("folder", "A folder that could not be entered."),
        ("undecoded", "A picture that was checked by its bytes only."),
        ("skipped", "A file that was left out on purpose."),
        ("silent-change", "A file whose content changed though it seemed unchanged."),
    )
]
NOTICE_INDEX = {notice["id"]: place for place, notice in enumerate(NOTICES)}
