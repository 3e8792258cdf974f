"""What a file or folder holds once it is checked."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

from torch import Tensor

from ..models.configs import FAMILIES, CLIPConfig, UNetConfig, VAEConfig
from .presets import Hints, Preset, hints_json
from .report import TITLES, Report

Tensors = dict[str, Tensor]


@dataclass(frozen=True)
class Network:
    """Validated tensors, single-file names for U-Net and VAE, transformers' for CLIP, and their sizes."""

    tensors: Tensors
    config: Any  # UNetConfig, VAEConfig or CLIPConfig


@dataclass
class Checkpoint:
    """The networks of a file or folder, and what is known of them."""

    kind: str  # svd, sv3d_u, sv3d_p, diffusers folder, parts; or the only network there: unet, vae, clip
    networks: dict[str, Network]  # by name: unet, vae, clip
    preset: Preset
    metadata: dict[str, str]  # of the file as it is
    report: Report
    hints: Hints = field(default_factory=Hints)  # its `puresvd` entry

    def network(self, name: str) -> Network:
        """One network; ValueError where the file has none of that name."""
        if name not in self.networks:
            found = f"{self.report.where} holds no {TITLES[name]}, only {self.report.what}"
            raise ValueError(f"{found}; choose another file")
        return self.networks[name]

    @property
    def unet(self) -> Tensors | None:
        return self.networks["unet"].tensors if "unet" in self.networks else None

    @property
    def vae(self) -> Tensors | None:
        return self.networks["vae"].tensors if "vae" in self.networks else None

    @property
    def clip(self) -> Tensors | None:
        return self.networks["clip"].tensors if "clip" in self.networks else None

    @property
    def unet_config(self) -> UNetConfig | None:
        return self.networks["unet"].config if "unet" in self.networks else None

    @property
    def vae_config(self) -> VAEConfig | None:
        return self.networks["vae"].config if "vae" in self.networks else None

    @property
    def clip_config(self) -> CLIPConfig | None:
        return self.networks["clip"].config if "clip" in self.networks else None

    @property
    def family(self) -> str | None:
        """svd, sv3d_u or sv3d_p, by the width of the U-Net's conditioning vector."""
        return FAMILIES[self.unet_config.adm_in_channels] if self.unet_config else None

    def hints_json(self) -> str:
        """A `puresvd` entry that keeps what tensors cannot tell, the preset included, for saving."""
        hints = replace(self.hints, preset=self.preset)
        if self.unet_config:
            hints = replace(
                hints, head_dim=self.unet_config.head_dim, unet_norm_groups=self.unet_config.norm_groups
            )
        if self.vae_config:
            hints = replace(hints, vae_norm_groups=self.vae_config.norm_groups)
        if self.clip_config:
            hints = replace(hints, clip={"heads": self.clip_config.heads})
        return hints_json(hints)


def require_whole(checkpoint: Checkpoint) -> None:
    """Stop where a network is missing."""
    missing = [title for name, title in TITLES.items() if name not in checkpoint.networks]
    if missing:
        found = (
            f"{checkpoint.report.where} holds only {checkpoint.report.what}; missing: {', '.join(missing)}"
        )
        raise ValueError(
            f"{found}. Choose a whole SVD checkpoint, or load U-Net, VAE and CLIP from separate files"
        )
