"""Stage 0: teaches a raw BERT the shop's words by masked language modelling (Devlin et al. 2019, section 3.1).

Words are masked here and not by transformers' DataCollatorForLanguageModeling, which draws each word by itself and so
leaves two in five short titles without a word to guess, and takes ten times as long.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from transformers import BertConfig, BertForMaskedLM
from transformers.utils import cached_file

from recommender.exceptions import RunError
from recommender.ml.encoder.model import PACKAGE, SCRATCH, Encoder, low_precision
from recommender.ml.loop import Box, LoopSettings, Objective, train
from recommender.ml.pace import STEPS
from recommender.types import Adaptation

NAME = "adaptation"
IGNORED = -100
"""Label of a token that is not guessed; the default `ignore_index` of PyTorch's cross-entropy."""


LOOP = LoopSettings(
    n_steps=2_000,
    learning_rate=1e-4,
    weight_decay=0.01,
    warmup=0.1,
    dropout=0.1,
    checkpoint_steps=200,
    check_steps=100,
    patience=3,
)


@dataclass(frozen=True, slots=True)
class MaskSettings:
    """How words are masked and guessed; the shares are those of Devlin et al. 2019, appendix A.1."""

    loop: LoopSettings = LOOP
    batch_texts: int = 64
    masked: float = 0.15
    as_mask: float = 0.8
    as_other: float = 0.1
    held_out: float = 0.1
    most_held_out: int = 512
    least_texts: int = 500


@dataclass(frozen=True, slots=True)
class Adapted:
    """Masked cross-entropy in nats on texts that were never trained on, before and after."""

    n_steps: int
    loss_before: float
    loss_after: float
    ended_by: str = STEPS

    def figures(self) -> dict[str, float]:
        """The numbers of a run; perplexity is exp(cross-entropy)."""
        return {
            "adaptation_steps": float(self.n_steps),
            "masked_loss_before": self.loss_before,
            "masked_loss_after": self.loss_after,
            "perplexity_before": math.exp(min(self.loss_before, 50.0)),
            "perplexity_after": math.exp(min(self.loss_after, 50.0)),
        }


def is_wanted(encoder: Encoder, texts: Sequence[str], choice: Adaptation, settings: MaskSettings) -> bool:
    """Whether to adapt this encoder to these texts. Raises RunError if that is required but impossible."""
    if choice == Adaptation.NEVER or len(set(texts)) < settings.least_texts:
        return False
    if not isinstance(encoder.model.bert.config, BertConfig):
        if choice == Adaptation.ALWAYS:
            kind = encoder.model.bert.config.model_type
            raise RunError(f"Adaptation needs a BERT; {encoder.name!r} is {kind!r}. Set ADAPTATION to 'never'.")
        return False
    return choice == Adaptation.ALWAYS or not is_sentence_encoder(encoder.name)


def is_sentence_encoder(name: str) -> bool:
    """Whether the weights were already trained to encode sentences: such a folder has a `modules.json`."""
    if name in ("", PACKAGE):
        return True
    if name == SCRATCH:
        return False
    quiet = {"_raise_exceptions_for_missing_entries": False, "_raise_exceptions_for_connection_errors": False}
    return cached_file(name, "modules.json", _raise_exceptions_for_gated_repo=False, **quiet) is not None


def adapt(encoder: Encoder, texts: Sequence[str], box: Box, settings: MaskSettings | None = None) -> Adapted:
    """Train the BERT of `encoder` in place, with a head that is discarded afterwards. Resumes a checkpoint."""
    settings = settings or MaskSettings()
    torch.manual_seed(box.seed)
    guesser = _Guesser(encoder)
    learned, held_out = _split(texts, settings, seed=box.seed)
    size = settings.batch_texts
    parts = [held_out[start : start + size] for start in range(0, len(held_out), size)]
    checks = [
        mask(encoder, part, settings, _generator(box.seed, number, checks=True)) for number, part in enumerate(parts)
    ]

    def check() -> float:
        sums = [guesser.loss(*batch, reduction="sum") for batch in checks]
        return float(sum(sums)) / sum(int((labels != IGNORED).sum()) for _, labels in checks)

    def backward(step: int) -> float:
        generator = _generator(box.seed, step)
        chosen = [learned[i] for i in generator.integers(0, len(learned), settings.batch_texts)]
        with low_precision(encoder.device):
            loss = guesser.loss(*mask(encoder, chosen, settings, generator))
        loss.backward()
        return float(loss.detach())

    guesser.eval()
    with torch.inference_mode():
        before = check()
    ended = train(NAME, guesser, settings.loop, box, Objective(backward, check))
    with torch.inference_mode():
        return Adapted(ended.n_steps, before, check(), ended.ended_by)


def mask(
    encoder: Encoder, texts: Sequence[str], settings: MaskSettings, generator: np.random.Generator
) -> tuple[dict[str, Tensor], Tensor]:
    """Return the masked batch and its labels (batch, length), `IGNORED` where nothing is to be guessed.

    Of the words 15 % are guessed, one of each text at least: titles are short. Of these 80 % become [MASK], 10 %
    another word, 10 % stay.
    """
    batch = encoder.tokens(texts)
    tokenizer, ids = encoder.tokenizer, batch["input_ids"].cpu().numpy()
    fixed = np.isin(ids, [tokenizer.cls_token_id, tokenizer.sep_token_id, tokenizer.pad_token_id])
    order = np.argsort(np.argsort(generator.random(ids.shape) + fixed, axis=1), axis=1)
    wanted = settings.masked * (~fixed).sum(axis=1) + generator.random(len(ids))
    is_guessed = (order < np.maximum(wanted.astype(int), 1)[:, None]) & ~fixed
    fate = generator.random(ids.shape)
    others = generator.integers(len(tokenizer.all_special_ids), len(tokenizer), ids.shape)
    shown = np.where(is_guessed & (fate < settings.as_mask), tokenizer.mask_token_id, ids)
    is_other = is_guessed & (fate >= settings.as_mask) & (fate < settings.as_mask + settings.as_other)
    shown = np.where(is_other, others, shown)
    batch["input_ids"] = torch.from_numpy(shown).to(encoder.device)
    return batch, torch.from_numpy(np.where(is_guessed, ids, IGNORED)).to(encoder.device)


class _Guesser(nn.Module):
    """The encoder's own BERT under transformers' head for masked words, tied to its embeddings."""

    def __init__(self, encoder: Encoder) -> None:
        super().__init__()
        whole = _with_head(encoder)
        whole.bert = encoder.model.bert
        whole.tie_weights()
        self.bert, self.head = whole.bert, whole.cls.to(encoder.device)
        if getattr(self.bert, "pooler", None) is not None:
            self.bert.pooler.requires_grad_(False)  # nothing reads it

    def loss(self, batch: dict[str, Tensor], labels: Tensor, *, reduction: str = "mean") -> Tensor:
        """Cross-entropy of the guessed words; the head runs on their tokens only, a tenth of the work."""
        hidden = self.bert(**batch).last_hidden_state
        is_guessed = labels != IGNORED
        logits = self.head(hidden[is_guessed]).float()
        return nn.functional.cross_entropy(logits, labels[is_guessed], reduction=reduction)


def _with_head(encoder: Encoder) -> Any:
    """A checkpoint's own head where it has one; transformers draws a fresh one where it has none."""
    if encoder.name in (SCRATCH, PACKAGE):
        return BertForMaskedLM(encoder.model.bert.config)
    return BertForMaskedLM.from_pretrained(encoder.name, dtype=torch.float32)


def _split(texts: Sequence[str], settings: MaskSettings, *, seed: int) -> tuple[list[str], list[str]]:
    """Split distinct texts, so that no held-out text equals one that was trained on."""
    distinct = sorted(set(texts))
    order = np.random.default_rng((seed, len(distinct))).permutation(len(distinct))
    n_held_out = max(min(round(len(distinct) * settings.held_out), settings.most_held_out), 1)
    return [distinct[i] for i in order[n_held_out:]], [distinct[i] for i in order[:n_held_out]]


def _generator(seed: int, step: int, *, checks: bool = False) -> np.random.Generator:
    return np.random.default_rng((seed, step, int(checks)))
