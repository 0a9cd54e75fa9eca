"""What two restored pictures are compared by: a frozen codebook, from a folder or trained before the student."""

from collections.abc import Callable
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor, nn

from kd2deploy.core import Batch, Networks
from kd2deploy.core.figures import count_of
from kd2deploy.methods._codebook import Codebook, Layout, codebook_in
from kd2deploy.methods._codebook_training import fit

RATE = 1e-3
"""Learning rate of a small codebook. Ours."""
SEED = 17
"""Of a small codebook's weights, apart from the training's own draws."""


class Guide(nn.Module):
    """A codebook that no optimizer of the training moves. One that is trained here is trained before the first batch,
    on the training's own targets, and is part of every checkpoint."""

    made: Tensor

    def __init__(self, codebook: str | None, steps: int) -> None:
        super().__init__()
        if steps < 1:
            raise ValueError(f"codebook_steps must be 1 or more, got {steps}")
        self.named, self.steps = codebook, steps
        self.codebook: Codebook | None = None
        self.batches: Callable[[int], Batch] | None = None
        self.register_buffer("made", torch.tensor(codebook is not None))

    def bind(self, nets: Networks, method: str) -> None:
        """Raises ValueError where there is nothing to train one on, ModelError for a folder that holds none."""
        if self.named is not None:
            self.codebook = codebook_in(Path(self.named).expanduser())
        elif nets.batches is None:
            raise ValueError(f"{method} has no batches to train a codebook on; name a folder of one as `codebook`")
        else:
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(SEED)
                self.codebook = Codebook(Layout())
        self.codebook.requires_grad_(False)
        self.batches = nets.batches

    @property
    def note(self) -> str:
        """What a person should know of where it comes from."""
        if self.named is not None:
            return ""
        return (
            f"dckd compares pictures by a small codebook that was trained for {count_of(self.steps, 'step')} on the "
            "training's own pictures, in place of a VQGAN's; name one as `codebook` for the source's own comparison"
        )

    def prepare(self) -> None:
        """Train the codebook, where it is to be trained and has not been."""
        if bool(self.made):
            return
        assert self.codebook is not None, "a term is bound before it is run"
        device = self.made.device
        devices = [device] if device.type == "cuda" else []
        with torch.random.fork_rng(devices), torch.autocast(device.type, enabled=False), torch.enable_grad():
            self.codebook.requires_grad_(True)
            fit(self.codebook, self.pictures_at, self.steps, RATE)
            self.codebook.requires_grad_(False)
        self.made.fill_(True)

    def pictures_at(self, number: int) -> Float[Tensor, "B 3 H W"]:
        """Targets of a batch beside the training's own, cut to what the codebook halves; rows without one are left
        out, and noise stands for a batch that has none."""
        assert self.batches is not None, "checked when it was bound"
        assert self.codebook is not None
        pictures = self.batches(number)["labels"].float()
        known = pictures[pictures.isfinite().flatten(1).all(1)]
        found = known if len(known) else torch.rand_like(pictures)
        least = 2 ** (len(self.codebook.layout.channel_multiplier) - 1)
        height, width = (size // least * least for size in found.shape[-2:])
        if not height or not width:
            raise ValueError(f"dckd: targets of {list(found.shape[-2:])} pixels are too small; take patches of {least}")
        return found[..., :height, :width]

    def levels(self, pictures: Float[Tensor, "B 3 H W"]) -> list[Tensor]:
        """Features after the first block of each level."""
        return self.read(pictures)[0]

    def distances(self, pictures: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B P K"]:
        """Squared distances of each place to the codes."""
        return self.read(pictures)[1]

    def read(self, pictures: Float[Tensor, "B 3 H W"]) -> tuple[list[Tensor], Tensor]:
        """Both, in full precision under autocast too: differences between good pictures are small."""
        assert self.codebook is not None, "a term is bound before it is run"
        with torch.autocast(pictures.device.type, enabled=False):
            levels, latents = self.codebook(pictures.float())
            return list(levels), self.codebook.distances(latents)
