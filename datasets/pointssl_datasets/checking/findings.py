"""What can be wrong with a dataset, how bad it is, and what to do: the list of findings."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from pointssl_datasets.base.skipping import Skip

Severity = Literal["error", "warning", "note"]
SEVERITIES: tuple[Severity, ...] = ("error", "warning", "note")
EXAMPLES = 5  # that are named per finding

_LEAVE_OUT = "Repair or replace them, or leave them out with --fix."


class Kind(NamedTuple):
    """One sort of finding; ``fixable`` ones are what a skip list can leave out."""

    severity: Severity
    means: str
    todo: str
    fixable: bool = False


KINDS: dict[str, Kind] = {
    "unopenable": Kind("error", "The split can't be listed, so none of it was checked.",
                       "Mend what the message names, then check again."),
    "unreadable": Kind("error", "Clouds that can't be read.", _LEAVE_OUT, True),
    "empty": Kind("error", "Clouds without points.", _LEAVE_OUT, True),
    "non-finite": Kind("error", "Clouds with NaN or infinite coordinates.", _LEAVE_OUT, True),
    "constant": Kind("error", "Clouds whose points are all at one place.", _LEAVE_OUT, True),
    "label": Kind("error", "Labels that are not in the list of classes.", _LEAVE_OUT, True),
    "part": Kind("error", "Part labels that do not fit the points or the list.", _LEAVE_OUT, True),
    "normals": Kind("error", "Normals that do not fit the points or are not finite.",
                    _LEAVE_OUT, True),
    "colours": Kind("error", "Colours that do not fit the points or are not from 0 to 1.",
                    _LEAVE_OUT, True),
    "place": Kind("error", "Places within the room that do not fit the points or are not finite.",
                  _LEAVE_OUT, True),
    "name": Kind("error", "Two clouds of one name: nothing can tell them apart.",
                 "Rename one of them."),
    "unpaired-cloud": Kind("error", "Clouds without pictures, where others have some.",
                           "Add the pictures, or leave the clouds out with --fix.", True),
    "unpaired-picture": Kind("error", "Pictures that belong to no cloud.",
                             "Name them like their cloud, or leave them out with --fix.", True),
    "picture": Kind("error", "Pictures that do not decode; loading with pictures fails on them.",
                    "Replace them, or leave their clouds out with --fix.", True),
    "leakage": Kind("error", "The same cloud in two splits: test accuracy counts known shapes.",
                    "Take them out of the split named here; --fix does.", True),
    "two-classes": Kind("warning", "The same cloud in two classes of one split.",
                        "Decide which class is right; --fix keeps the first.", True),
    "duplicate": Kind("warning", "Clouds that repeat another one of their split exactly.",
                      "--fix keeps the first; leave an official split as it is to compare numbers.",
                      True),
    "axis": Kind("warning", "Another axis points up than the dataset says.",
                 "Pass the right --up-axis."),
    "counts": Kind("warning", "Not as many clouds or classes as the official release has.",
                   "Complete the download, or don't compare with published numbers."),
    "few-points": Kind("warning", "Clouds with fewer points than asked for: they'd be repeated.",
                       "Lower --points, or sample the clouds anew."),
    "padding": Kind("warning", "Clouds that hold one place over and over, as padding does.",
                    "Take the repeated points out; they weigh on every maximum and mean."),
    "off-centre": Kind("warning", "So far from the origin that float32 rounds the shape away.",
                       "Subtract the centre in double precision before saving."),
    "fields": Kind("warning", "Only some clouds have normals, colours or parts: none are served.",
                   "Add them everywhere, or ignore this if you do not need them."),
    "class-untrained": Kind("warning", "Classes with clouds in test but none in train.",
                            "Check how the folders are named in the two splits."),
    "class-empty": Kind("warning", "Classes without any cloud.",
                        "Fill them, or take them out of the list of classes."),
    "tiny-picture": Kind("warning", "Pictures of less than 16 pixels.", "Render larger ones."),
    "blank-picture": Kind("warning", "Pictures of one colour: they show nothing.",
                          "Render them anew; is the camera inside, or the shape transparent?"),
    "same-picture": Kind("warning", "One picture for different clouds.",
                         "Check how the pictures were paired."),
    "same-stem": Kind("warning", "Two clouds of one name but for the suffix.",
                      "Keep one of each: names must be unique."),
    "broken-link": Kind("warning", "Symbolic links that lead nowhere.", "Restore or remove them."),
    "no-permission": Kind("warning", "Files or folders that may not be read.",
                          "Change their permissions (chmod)."),
    "zero-bytes": Kind("warning", "Files of zero bytes.", "Copy or download them again."),
    "archive": Kind("warning", "Archives inside the dataset, which are not looked into.",
                    "Unpack them if they hold clouds."),
    "empty-folder": Kind("note", "Folders with nothing in them.",
                         "Fill them if they ought to be classes."),
    "ignored": Kind("note", "Files or folders where clouds are looked for, which are not read.",
                    "Move clouds out of folders within a class: they are looked for in none."),
    "foreign": Kind("note", "Files that are neither clouds nor pictures; they are ignored.",
                    "Nothing, unless data hides in them."),
    "repeats": Kind("note", "Clouds in which more than a quarter of the points are repeated.",
                    "Nothing, if they were sampled with replacement or stored in half precision."),
    "scale": Kind("note", "A hundred times larger or smaller than the median cloud.",
                  "Are units mixed, or are there stray points?"),
    "imbalance": Kind("note", "The largest class has more than 20 times the smallest's clouds.",
                      "Look at the mean over classes beside the accuracy."),
    "class-untested": Kind("note", "Classes with clouds in train but none in test.",
                           "Nothing, unless you expected some."),
    "no-split": Kind("note", "There is no such split.", "Nothing, unless you expected one."),
    "skipped": Kind("note", "Clouds that the skip list leaves out; they were not checked.",
                    "Delete lines of the skip list to take them back."),
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Finding:
    """So many things of one kind in one split ("" for the dataset as a whole)."""

    severity: Severity
    kind: str
    split: str
    count: int
    examples: tuple[str, ...]  # the first five: name and detail
    more: int  # examples that there would be
    means: str
    todo: str
    fixable: bool


@dataclass
class Findings:
    """Collects what is wrong; of each kind and split it keeps a count and five examples, and of
    what can be fixed every name."""

    dataset: str
    skips: list[Skip] = field(default_factory=list)
    _found: dict[tuple[str, str], tuple[int, int, list[str]]] = field(default_factory=dict)
    _todo: dict[str, str] = field(default_factory=dict)

    def add(
        self,
        kind: str,
        split: str,
        name: str = "",
        detail: str = "",
        *,
        count: int = 1,
        todo: str | None = None,
    ) -> None:
        """One finding (or ``count``), of the cloud or file ``name`` or of the whole."""
        total, lines, examples = self._found.get((kind, split), (0, 0, []))
        line = ": ".join(filter(None, (name, detail)))
        if line and len(examples) < EXAMPLES:
            examples.append(line)
        self._found[kind, split] = (total + count, lines + bool(line), examples)
        if todo:
            self._todo[kind] = todo
        if KINDS[kind].fixable and name:
            why = " ".join(f"{kind}: {detail}".split()).rstrip(": ")
            self.skips.append(Skip(self.dataset, split, name, why))

    def sorted(self) -> Iterator[Finding]:
        """The worst first, otherwise in the order of :data:`KINDS`."""
        order = list(KINDS)
        known = sorted(
            self._found.items(),
            key=lambda item: (
                SEVERITIES.index(KINDS[item[0][0]].severity),
                order.index(item[0][0]),
            ),
        )
        for (name, split), (count, lines, examples) in known:
            kind = KINDS[name]
            yield Finding(
                severity=kind.severity,
                kind=name,
                split=split,
                count=count,
                examples=tuple(examples),
                more=lines - len(examples),
                means=kind.means,
                todo=self._todo.get(name, kind.todo),
                fixable=kind.fixable,
            )
