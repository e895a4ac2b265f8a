"""The report of ``pointssl data check``, as a table or as plain values."""

import dataclasses
import itertools
import textwrap
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pointssl_datasets.checking.findings import SEVERITIES, Finding

WIDTH = 100


@dataclass(frozen=True, kw_only=True)
class Report:
    """The findings, sorted by severity."""

    dataset: str
    clouds: Mapping[str, int]  # split -> clouds that were read
    findings: tuple[Finding, ...]
    fixable: int  # clouds and images that --fix leaves out
    strict: bool = False  # warnings count as errors
    skip_list: Path | None = None  # that --fix wrote
    hint: str = ""  # how to use it, if it is not used by default

    @property
    def exit_code(self) -> int:
        """1 if there is an error, or a warning if ``strict``; else 0."""
        bad = ("error", "warning") if self.strict else ("error",)
        return int(any(finding.severity in bad for finding in self.findings))

    def as_json(self) -> dict[str, Any]:
        """The report as plain values."""
        return {
            "dataset": self.dataset,
            "clouds": dict(self.clouds),
            **{f"{s}s": sum(f.severity == s for f in self.findings) for s in SEVERITIES},
            "findings": [
                {**dataclasses.asdict(f), "examples": list(f.examples)} for f in self.findings
            ],
            "fixable": self.fixable,
            "skip_list": None if self.skip_list is None else str(self.skip_list),
        }

    def as_text(self) -> str:
        """The report as a table for a terminal of 100 columns, and a summary."""
        lines = [f"{'':<9}{'KIND':<18}{'SPLIT':<7}{'COUNT':>6}  WHAT"] if self.findings else []
        for _, group in itertools.groupby(self.findings, key=lambda finding: finding.kind):
            same = list(group)  # one per split
            for number, finding in enumerate(same):
                head = f"{finding.severity:<9}{finding.kind:<18}{finding.split or '-':<7}"
                head += f"{finding.count:>6}  "
                lines += _wrapped(finding.means if number == 0 else "", head, " " * len(head))
                for example in finding.examples:
                    lines += _wrapped(_short(example), " " * 9, " " * 11)
                if finding.more:
                    lines += _wrapped(f"and {finding.more} more", " " * 9, " " * 11)
            lines += _wrapped(f"-> {same[0].todo}", " " * 9, " " * 12)
        return "\n".join([*lines, *[""] * bool(lines), self.summary()])

    def summary(self) -> str:
        """E.g. ``1630 clouds read in 2 splits: 3 errors, 2 warnings.``, and the effect of --fix."""
        counts = Counter(finding.severity for finding in self.findings)
        problems = ", ".join(_number(counts[s], s) for s in SEVERITIES if counts[s])
        clouds, splits = sum(self.clouds.values()), len(self.clouds)
        line = f"{_number(clouds, 'cloud')} read in {_number(splits, 'split')}: "
        line += f"{problems or 'no problems found'}."
        what = "cloud or image" if self.fixable == 1 else "clouds or images"
        if self.skip_list is not None:
            return f"{line}\n{self.fixable} {what} will be left out: {self.skip_list}{self.hint}"
        if self.fixable:
            return f"{line}\n--fix would leave out {self.fixable} {what}; it deletes nothing."
        return line


def _number(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"


def _short(text: str) -> str:
    return text if len(text) <= 400 else f"{text[:397]}..."


def _wrapped(text: str, first: str, rest: str) -> list[str]:
    """Lines of at most 100 columns; the first begins with ``first``, the others with ``rest``."""
    lines = textwrap.wrap(
        text, WIDTH, initial_indent=first, subsequent_indent=rest, break_on_hyphens=False
    )
    return lines or [first.rstrip()]
