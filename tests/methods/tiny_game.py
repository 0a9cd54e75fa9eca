"""Two tiny text networks, a tiny masked language model, and the game they play."""

import torch
from tiny_networks import TinyTask, TinyText, at, networks_of
from torch import nn

from kd2deploy.core import Look, MaskedLm, Pair, Step

PADDING, FIRST, MASK = 0, 1, 2
WORDS = 11


class WordTask(TinyTask):
    name = "tiny_words"

    def token_table(self, net):
        return net.words.weight


class TinyMaskedLm(MaskedLm):
    """Each position sees its own word and the sentence's mean; it has dropout, so that its mode matters."""

    def __init__(self, words=WORDS, width=6):
        super().__init__()
        self.mask_id, self.special_ids = MASK, (PADDING, FIRST, MASK)
        self.words, self.dropout, self.head = nn.Embedding(words, width), nn.Dropout(0.5), nn.Linear(width, words)

    def forward(self, input_ids, attention_mask, positions):
        state, counts = self.words(input_ids), attention_mask[..., None]
        around = (state * counts).sum(1, keepdim=True) / counts.sum(1, keepdim=True)
        return self.head(self.dropout(torch.tanh(state + around)))[positions]


class DroppingText(TinyText):
    """A tiny network with dropout on its words, which says how often it ran in training mode."""

    def __init__(self, **sizes):
        super().__init__(**sizes)
        self.dropout = nn.Dropout(0.5)
        self.modes = []

    def forward(self, attention_mask, input_ids=None, inputs_embeds=None):
        self.modes.append(self.training)
        state = self.words(input_ids) if inputs_embeds is None else inputs_embeds
        return super().forward(attention_mask, inputs_embeds=self.dropout(state))


def players(student=None, teacher=None, **changes):
    """Student, frozen teacher, and how they are shown to a method."""
    student = TinyText() if student is None else student
    teacher = (TinyText(width=6, blocks=3) if teacher is None else teacher).eval().requires_grad_(False)
    shown = {"task": WordTask(), "batches": generators_sentences, "steps": 100_000, **changes}
    return student, teacher, networks_of(student, teacher, **shown)


def generators_sentences(number):
    """The generator's batch of this number: always the same one."""
    with torch.random.fork_rng([]):
        torch.manual_seed(1000 + number)
        return sentences(rows=16)


def sentences(rows=4, length=6, padded=1):
    """Random words after a first special token; all but the first row end in padding."""
    attended = torch.ones(rows, length, dtype=torch.long)
    if padded:
        attended[1:, -padded:] = 0
    ids = torch.randint(3, WORDS, (rows, length))
    ids[:, 0] = FIRST
    return {
        "input_ids": ids * attended,
        "attention_mask": attended,
        "labels": torch.randint(3, (rows,)),
        "index": torch.arange(rows),
    }


def snapshot(net):
    return {name: value.clone() for name, value in net.state_dict().items() if isinstance(value, torch.Tensor)}


def unchanged(net, before):
    return all(torch.equal(value, before[name]) for name, value in snapshot(net).items())


def terms_of(method, student, teacher, batch, progress=None):
    """Every term's unweighted value on a batch that the student learns from."""
    progress = progress or at()
    method.tick(progress)
    looks = {"clean": Look(batch, batch)} | {view.name: view(batch) for view in method.views}
    task, pairs = WordTask(), {}
    for name, look in looks.items():
        with torch.no_grad():
            theirs = task.networks.observe(teacher, look.teacher)
        pairs[name] = Pair(task.networks.observe(student, look.student), theirs, look)
    step = Step(batch, pairs, progress)
    return {name: weighted.term(step) for name, weighted in method.weighted.items()}
