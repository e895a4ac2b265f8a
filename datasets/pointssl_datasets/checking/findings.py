"""The kinds of problems of a dataset: severity, meaning, and what to do about them."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from pointssl_datasets.base.skipping import Skip

Severity = Literal["error", "warning", "note"]
SEVERITIES: tuple[Severity, ...] = ("error", "warning", "note")
EXAMPLES = 5  # names per finding

_LEAVE_OUT = "Repair or replace them, or leave them out with --fix."


class Kind(NamedTuple):
    """A kind of finding."""

    severity: Severity
    means: str  # what is wrong
    todo: str  # what to do about it
    fixable: bool = False  # whether a skip list can leave it out


KINDS: dict[str, Kind] = {
    "unopenable": Kind("error", "The split can't be listed, so none of it was checked.",
                       "Correct the problem in the message, then check again."),
    "unreadable": Kind("error", "Clouds that can't be read.", _LEAVE_OUT, True),
    "empty": Kind("error", "Clouds without points.", _LEAVE_OUT, True),
    "non-finite": Kind("error", "Clouds with NaN or infinite coordinates.", _LEAVE_OUT, True),
    "constant": Kind("error", "Clouds whose points are all identical.", _LEAVE_OUT, True),
    "label": Kind("error", "Labels that are not in the list of classes.", _LEAVE_OUT, True),
    "part": Kind("error", "Part labels that do not match the points or the list.",
                 _LEAVE_OUT, True),
    "normals": Kind("error", "Normals that do not match the points or are not finite.",
                    _LEAVE_OUT, True),
    "colours": Kind("error", "Colours that do not match the points or are not from 0 to 1.",
                    _LEAVE_OUT, True),
    "place": Kind("error", "Positions in the room that do not match the points or are not finite.",
                  _LEAVE_OUT, True),
    "name": Kind("error", "Two clouds with the same name, which must be unique.",
                 "Rename one of them."),
    "unpaired-cloud": Kind("error", "Clouds without images, where others have some.",
                           "Add the images, or leave the clouds out with --fix.", True),
    "unpaired-picture": Kind("error", "Images that belong to no cloud.",
                             "Name them like their cloud, or leave them out with --fix.", True),
    "picture": Kind("error", "Images that can't be decoded; loading them will fail.",
                    "Replace them, or leave their clouds out with --fix.", True),
    "leakage": Kind("error", "The same cloud in two splits: test accuracy includes known shapes.",
                    "Remove them from the split shown here; --fix does.", True),
    "two-classes": Kind("warning", "The same cloud in two classes of one split.",
                        "Decide which class is correct; --fix keeps the first.", True),
    "duplicate": Kind("warning", "Clouds that are identical to another one of their split.",
                      "--fix keeps the first; keep an official split as it is to compare numbers.",
                      True),
    "axis": Kind("warning", "The axis that points up differs from that of the dataset.",
                 "Pass the correct --up-axis."),
    "counts": Kind("warning", "The number of clouds or classes differs from the official release.",
                   "Complete the download, or don't compare with published numbers."),
    "few-points": Kind("warning", "Clouds with fewer points than requested: points are repeated.",
                       "Lower --points, or sample the clouds anew."),
    "padding": Kind("warning", "Clouds in which one point occurs many times, as in padding.",
                    "Remove the repeated points; they distort every maximum and mean."),
    "off-centre": Kind("warning", "So far from the origin that float32 loses the shape.",
                       "Subtract the centre in double precision before saving."),
    "fields": Kind("warning", "Only some clouds have normals, colours or parts: none are used.",
                   "Add them everywhere, or ignore this if you do not need them."),
    "class-untrained": Kind("warning", "Classes with clouds in test but none in train.",
                            "Check the names of the folders in the two splits."),
    "class-empty": Kind("warning", "Classes without any cloud.",
                        "Add clouds, or remove them from the list of classes."),
    "tiny-picture": Kind("warning", "Images of less than 16 pixels.", "Render larger ones."),
    "blank-picture": Kind("warning", "Images of a single colour, which show nothing.",
                          "Render them again; is the camera inside, or the shape transparent?"),
    "same-picture": Kind("warning", "The same image for different clouds.",
                         "Check how images and clouds were paired."),
    "same-stem": Kind("warning", "Two clouds whose names differ only in the suffix.",
                      "Keep one of each: names must be unique."),
    "broken-link": Kind("warning", "Symbolic links that lead nowhere.", "Restore or remove them."),
    "no-permission": Kind("warning", "Files or folders that may not be read.",
                          "Change their permissions (chmod)."),
    "zero-bytes": Kind("warning", "Files of zero bytes.", "Copy or download them again."),
    "archive": Kind("warning", "Archives in the dataset, which are not opened.",
                    "Unpack them if they contain clouds."),
    "empty-folder": Kind("note", "Empty folders.",
                         "Add clouds if they should be classes."),
    "ignored": Kind("note", "Files or folders beside the clouds, which are not read.",
                    "Move clouds out of the subfolders of a class, which are not searched."),
    "foreign": Kind("note", "Files that are neither clouds nor images; they are ignored.",
                    "Nothing, unless they contain data."),
    "repeats": Kind("note", "Clouds in which more than a quarter of the points are repeated.",
                    "Nothing, if they were sampled with replacement or stored in half precision."),
    "scale": Kind("note", "A hundred times larger or smaller than the median cloud.",
                  "Are units mixed, or are there stray points?"),
    "imbalance": Kind("note", "The largest class has more than 20 times the smallest's clouds.",
                      "Report the mean over classes beside the accuracy."),
    "class-untested": Kind("note", "Classes with clouds in train but none in test.",
                           "Nothing, unless you expected some."),
    "no-split": Kind("note", "The split does not exist.", "Nothing, unless you expected one."),
    "skipped": Kind("note", "Clouds in the skip list, which were not checked.",
                    "Delete lines of the skip list to include them again."),
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Finding:
    """All findings of one kind in one split."""

    severity: Severity
    kind: str  # a key of KINDS
    split: str  # "" for the dataset as a whole
    count: int
    examples: tuple[str, ...]  # name and detail of the first five
    more: int  # number of further examples
    means: str
    todo: str
    fixable: bool


@dataclass
class Findings:
    """Collects findings: a count and five examples per kind and split, and all names to skip."""

    dataset: str
    skips: list[Skip] = field(default_factory=list)
    _collected: dict[tuple[str, str], tuple[int, int, list[str]]] = field(default_factory=dict)
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
        """Adds one finding, or ``count``.

        Args:
            kind: a key of :data:`KINDS`.
            split: "" for the dataset as a whole.
            name: of the cloud or file, if it is about a single one.
            detail: what exactly is wrong.
            count: number of findings.
            todo: what to do, instead of the default of the kind.
        """
        total, lines, examples = self._collected.get((kind, split), (0, 0, []))
        line = ": ".join(filter(None, (name, detail)))
        if line and len(examples) < EXAMPLES:
            examples.append(line)
        self._collected[kind, split] = (total + count, lines + bool(line), examples)
        if todo:
            self._todo[kind] = todo
        if KINDS[kind].fixable and name:
            why = " ".join(f"{kind}: {detail}".split()).rstrip(": ")
            self.skips.append(Skip(self.dataset, split, name, why))

    def sorted(self) -> Iterator[Finding]:
        """All findings by severity, then in the order of :data:`KINDS`."""
        order = list(KINDS)
        ordered = sorted(
            self._collected.items(),
            key=lambda item: (
                SEVERITIES.index(KINDS[item[0][0]].severity),
                order.index(item[0][0]),
            ),
        )
        for (name, split), (count, lines, examples) in ordered:
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
