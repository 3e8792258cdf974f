"""What a file or folder holds once it is checked."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from torch import Tensor

from ..models.configs import FAMILIES, CLIPConfig, UNetConfig, VAEConfig
from .presets import Hints, Preset, hints_json
from .report import TITLES, Report

Tensors = dict[str, Tensor]


@dataclass
class Checkpoint:
    """Validated tensors, not copied: single-file names for U-Net and VAE, transformers' for CLIP."""

    kind: str  # svd, sv3d_u, sv3d_p, diffusers folder, parts; or the only network there: unet, vae, clip
    unet: Tensors | None
    vae: Tensors | None
    clip: Tensors | None
    unet_config: UNetConfig | None
    vae_config: VAEConfig | None
    clip_config: CLIPConfig | None
    preset: Preset
    metadata: dict[str, str]  # of the file as it is
    report: Report
    hints: Hints = field(default_factory=Hints)  # its `puresvd` entry

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
    missing = [TITLES[name] for name in TITLES if getattr(checkpoint, name) is None]
    if missing:
        found = (
            f"{checkpoint.report.where} holds only {checkpoint.report.what}; missing: {', '.join(missing)}"
        )
        raise ValueError(
            f"{found}. Choose a whole SVD checkpoint, or load U-Net, VAE and CLIP from separate files"
        )
