"""Mixed rows: which rows are mixed and how much of each is kept, the view that shows them, and the mixed labels' loss.

The input that is mixed is the task's own continuous one: word embeddings (each network's own) for text, pixels for
images. Segment ids stay the row's own. A row mixed with an unlabelled one has no mixed label.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor, nn

from kd2deploy.core import Batch, Look, Networks, View, clean_look

KEPT, PARTNER = "mix.kept", "mix.partner"
"""In a mixed look: the share [B] of the row itself, and which row [B] the rest came from."""
MASKS = ("attention_mask", "pixel_mask")

Draw = Callable[[int], tuple[Tensor, Tensor]]
"""From the rows of a batch to KEPT and PARTNER."""


def beta_pairs(concentration: float) -> Draw:
    """Every row's own share from Beta(concentration, concentration), and a random partner."""
    shares = torch.distributions.Beta(concentration, concentration)
    return lambda rows: (shares.sample((rows,)), torch.randperm(rows))


def mixed(
    values: Float[Tensor, "B *D"], kept: Float[Tensor, "B"], partner: Int64[Tensor, "B"]
) -> Float[Tensor, "B *D"]:
    """kept * x + (1 - kept) * x[partner], row by row."""
    share = kept.to(values.dtype).reshape(-1, *(1 for _ in values.shape[1:]))
    return share * values + (1 - share) * values[partner]


def mixed_label_loss(
    logits: Float[Tensor, "B *K C"], labels: Tensor, kept: Float[Tensor, "B"], partner: Int64[Tensor, "B"]
) -> Float[Tensor, ""]:
    """Cross-entropy (nats) with the mixed labels; for real-valued labels the squared error. Mean over the rows that are
    labelled and have a labelled partner, and over a row's K labels where it has several; 0, still in the graph, where
    there are none."""
    if labels.is_floating_point():
        known = ~labels.isnan()
        each = (logits.squeeze(-1) - mixed(labels.nan_to_num().to(logits.dtype), kept, partner)).square()
    else:
        known, truth = labels >= 0, labels.clamp(min=0)
        own, other = (cross_entropy_of(logits, wanted) for wanted in (truth, truth[partner]))
        share = kept.reshape(-1, *(1 for _ in labels.shape[1:]))
        each = share * own + (1 - share) * other
    both = known & known[partner]
    return (each * both).sum() / both.sum().clamp(min=1)


def cross_entropy_of(logits: Float[Tensor, "*B C"], labels: Int64[Tensor, "*B"]) -> Float[Tensor, "*B"]:
    return F.cross_entropy(logits.flatten(0, -2), labels.flatten(), reduction="none").reshape(labels.shape)


class InputMixup(View):
    """Mixes each network's continuous input with one draw for both; masks are united; the look has no labels.

    Where there is no teacher, nobody reads what it would be shown.
    """

    name = "mix"

    def __init__(self, draw: Draw) -> None:
        super().__init__()
        self.draw = draw

    def bind(self, nets: Networks) -> None:
        for net in (nets.student, nets.teacher):
            if net is not None:
                nets.task.networks.token_table(net)  # raises where there are words that cannot be shown as vectors
        self.nets = nets

    def forward(self, batch: Batch) -> Look:
        look = clean_look(batch)
        first = next(iter(batch.values()))
        kept, partner = (drawn.to(first.device) for drawn in self.draw(len(first)))
        shown = self.mix(self.nets.student, look.student, kept, partner)
        if self.nets.teacher is None:
            return Look(shown, shown)
        with torch.no_grad():
            return Look(shown, self.mix(self.nets.teacher, look.teacher, kept, partner))

    def mix(self, net: nn.Module, batch: Batch, kept: Tensor, partner: Tensor) -> Batch:
        name, values = self.nets.task.networks.continuous_input(net, batch)
        replaced = self.nets.task.inputs[0].name
        shown = {key: value for key, value in batch.items() if key not in (replaced, "labels")}
        united = {key: torch.maximum(shown[key], shown[key][partner]) for key in MASKS if key in shown}
        return shown | united | {name: mixed(values, kept, partner), KEPT: kept, PARTNER: partner}
