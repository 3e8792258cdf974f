"""What a file is and what became of each of its tensors, as data and as a readable page."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from torch import Tensor

from .header import show

TITLES = {"unet": "U-Net", "vae": "VAE", "clip": "CLIP image encoder"}
LISTED = 8  # unknown names that the page shows


@dataclass
class Report:
    """Tensors used, known but not needed, and unknown; `str` gives the page."""

    where: str
    what: str = ""
    used: dict[str, int] = field(default_factory=dict)  # per network: unet, vae, clip
    dtypes: dict[str, int] = field(default_factory=dict)  # of the tensors used, the most frequent first
    unused: dict[str, list[str]] = field(default_factory=dict)  # names by reason
    unknown: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def dtype(self) -> str:
        """The storage format of most tensors used."""
        return next(iter(self.dtypes), "none")

    def count(self, networks: Mapping[str, Mapping[str, Tensor]]) -> None:
        """Note the tensors that the networks take, and their formats."""
        self.used = {name: len(networks[name]) for name in TITLES if name in networks}
        formats = Counter(
            str(t.dtype).removeprefix("torch.") for found in networks.values() for t in found.values()
        )
        self.dtypes = dict(formats.most_common())

    def leave(self, unused: Mapping[str, list[str]], unknown: list[str]) -> None:
        """Note names that no network takes."""
        for reason, names in unused.items():
            self.unused.setdefault(reason, []).extend(names)
        self.unknown += unknown

    def __str__(self) -> str:
        lines = [f"{self.where}: {self.what}"]
        lines.append(
            "tensors used: " + ", ".join(f"{TITLES[name]} {count}" for name, count in self.used.items())
        )
        lines.append("stored as: " + ", ".join(f"{dtype} ({count})" for dtype, count in self.dtypes.items()))
        lines += [f"not needed: {len(names)} ({reason})" for reason, names in self.unused.items()]
        if self.unknown:
            more = f" and {len(self.unknown) - LISTED} more" if len(self.unknown) > LISTED else ""
            lines.append(
                f"unknown: {len(self.unknown)} ({', '.join(map(show, self.unknown[:LISTED]))}{more})"
            )
        return "\n".join(lines + self.notes)
