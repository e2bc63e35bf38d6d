"""Converts the checkpoint's tokenizer to one tokenizer.json with the token ids of sentence-transformers."""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from sentriton.tokenization import TextTokenizer
from sentriton_server.checkpoint.errors import CheckpointError, is_missing_package
from sentriton_server.encoder import EncoderSpec

# Texts that reveal settings outside tokenizer.json. Each added token is probed as text as well.
_PROBES = (
    "",
    " ",
    "word",
    " leading space",
    "trailing space ",
    "  two  spaces  ",
    "UPPER case and CamelCase",
    "Ünïcödé àccênts, ﬁ ligature, ½",
    "tabs\tand\nlines\r\nand\vmore",
    "control \x00\x01\x7f\x85 characters",
    "zero\u200bwidth\u200djoiner\ufeff",
    "한국어 문장을 바로 보내요.",
    "\u1112\u1161\u11ab\u1100\u116e\u11a8",
    "中文没有空格, 日本語の文",
    "עברית العربية",
    "👩‍👩‍👧 🇰🇷 emoji",
    "don't, won't; (brackets) [brackets] {brackets} <tag> </s>",
    "1234567890 3.14 2026-11-25",
    "https://example.org/?q=a&b#c user@example.org",
    "query: what is asked",
    "Pneumonoultramicroscopicsilicovolcanoconiosis" * 4,
    "aaaaaaaaaa" * 40,
)
_PROMPTS = ("query: ", "the query", "한국어 문장:", "Instruct: find it\nQuery: ")
_SHOWN_IDS = 12


def require_loadable(folder: Path, transformer_path: str, *, served: bool, **options: Any) -> None:
    """Raises the reason if transformers does not load the tokenizer of a checkpoint with these `options`."""
    from transformers import AutoTokenizer

    _require_sentencepiece(folder / transformer_path)
    try:
        AutoTokenizer.from_pretrained(str(folder), subfolder=transformer_path, **options)
    except ImportError as error:
        if served and is_missing_package(error):
            raise _unconvertible(" ".join(str(error).split()).partition(". ")[0]) from error
        raise


def read_tokenizer(tokenizer: Any, max_seq_length: int) -> Tokenizer:
    """The checkpoint's tokenizer as one of the tokenizers library. Slow tokenizers are converted.

    It includes the truncation, so that clients need only one file. Raises `CheckpointError` for a setting that the file
    cannot express.
    """
    if tokenizer.pad_token_id is None:
        raise CheckpointError(
            "its tokenizer has no padding token, so that sentence-transformers cannot embed a batch; set pad_token, "
            "to the token of the pad_token_id in config.json"
        )
    description = _fast(tokenizer).to_str()
    if getattr(tokenizer, "split_special_tokens", False):
        description = _without_special_tokens(description)
    copy = Tokenizer.from_str(description)
    special_tokens = copy.num_special_tokens_to_add(False)
    if max_seq_length <= special_tokens:
        raise CheckpointError(
            f"its max_seq_length is {max_seq_length}, and the tokenizer adds {special_tokens} special tokens to each "
            "text; allowed is a max_seq_length that leaves room for text"
        )
    copy.enable_truncation(max_seq_length, direction=tokenizer.truncation_side)
    # No reader pads. But the file is part of the fingerprint. Without padding, every fingerprint would change, and
    # callers would have to embed their stored texts again.
    copy.enable_padding(pad_id=tokenizer.pad_token_id, pad_token=tokenizer.pad_token)
    return copy


def check_tokenizer(model: Any, tokenizer: Tokenizer, spec: EncoderSpec) -> None:
    """Compare `tokenizer` with the tokenizer of the SentenceTransformer `model` on probe texts.

    Raises `CheckpointError` for different ids, several token types, padding that changes vectors, and a different
    length of a prompt outside pooling.
    """
    _require_embeddings(tokenizer, spec)
    exported = TextTokenizer(tokenizer.to_str())
    texts = _probing_texts(tokenizer, spec)
    features = model.preprocess(texts)
    if "attention_mask" not in features:
        raise CheckpointError(
            "its tokenizer makes no attention_mask (model_input_names), so that sentence-transformers' vectors depend "
            "on padding; add attention_mask to model_input_names"
        )
    attended = features["attention_mask"].bool()
    _require_harmless_padding(attended, model[0].tokenizer.pad_token_id, spec)
    if "token_type_ids" in features and bool((features["token_type_ids"] != 0)[attended].any()):
        raise CheckpointError("its tokenizer gives tokens of a single text types other than 0; allowed is only 0")
    for text, row, mask, ids in zip(texts, features["input_ids"], attended, exported.tokenize(texts), strict=True):
        _require_equal(text, row[mask].tolist(), ids, model[0])
    if not all(getattr(module, "include_prompt", True) for module in model):
        _require_prompt_lengths(model, exported)


def _unconvertible(reason: str) -> CheckpointError:
    """The error for a tokenizer in Python, such as one with MeCab."""
    return CheckpointError(
        f"its tokenizer is Python code ({reason}), which cannot be converted to the tokenizer.json that clients need; "
        "no further package helps: use an embedding model that has a tokenizer.json"
    )


def _require_sentencepiece(folder: Path) -> None:
    """Raises `CheckpointError` for a tokenizer that transformers converts only with the package sentencepiece. Without
    it, transformers reads the file as one of tiktoken, and its error names neither.
    """
    models = sorted(path.name for path in folder.glob("*.model"))
    if models and not (folder / "tokenizer.json").exists() and find_spec("sentencepiece") is None:
        raise CheckpointError(
            f"its tokenizer is only {models[0]}, which transformers converts with the package sentencepiece; install "
            "that, or save the checkpoint with a fast tokenizer (tokenizer.json)"
        )


def _fast(tokenizer: Any) -> Any:
    """The tokenizer of the tokenizers library inside one of transformers."""
    fast = getattr(tokenizer, "backend_tokenizer", None)
    if fast is not None:
        return fast
    from transformers.convert_slow_tokenizer import SLOW_TO_FAST_CONVERTERS, convert_slow_tokenizer

    name = type(tokenizer).__name__
    try:
        return convert_slow_tokenizer(tokenizer)
    except Exception as error:  # converters raise errors of many classes
        if name not in SLOW_TO_FAST_CONVERTERS:
            raise _unconvertible(name) from error
        raise CheckpointError(
            f"its tokenizer {name} is a slow one and cannot be converted; save the checkpoint with a fast tokenizer "
            "(tokenizer.json)"
        ) from error


def _without_special_tokens(description: str) -> str:
    """A tokenizer that treats special tokens in a text as text. The file has no setting for this, so the tokens are
    removed from its list. The post-processor still adds the tokens around a text.
    """
    content = json.loads(description)
    content["added_tokens"] = [token for token in content["added_tokens"] if not token["special"]]
    return json.dumps(content, ensure_ascii=False)


def _require_embeddings(tokenizer: Tokenizer, spec: EncoderSpec) -> None:
    token, token_id = max(tokenizer.get_vocab(with_added_tokens=True).items(), key=lambda item: item[1])
    if token_id >= spec.vocab_size:
        raise CheckpointError(
            f"its tokenizer has the token {token!r} with id {token_id}, and the encoder has embeddings for ids up to "
            f"{spec.vocab_size - 1}; resize the embeddings (resize_token_embeddings), or remove the tokens"
        )


def _require_harmless_padding(attended: Any, pad_token_id: int, spec: EncoderSpec) -> None:
    """Raises `CheckpointError` for padding before a text if it shifts the positions of the text."""
    in_front = bool((attended.any(dim=1) & ~attended[:, 0]).any())
    if in_front and not (spec.positions_follow_padding_id and pad_token_id == spec.pad_token_id):
        raise CheckpointError(
            "its tokenizer has padding_side 'left', so that sentence-transformers' vectors depend on the other texts "
            f"of a batch; allowed for {spec.model_type} with pad_token_id {spec.pad_token_id} is 'right'"
        )


def _probing_texts(tokenizer: Tokenizer, spec: EncoderSpec) -> list[str]:
    added = [token.content for token in tokenizer.get_added_tokens_decoder().values()]
    typed = [text for token in added for text in (token, f"a{token}b", f"a {token} {token.lower()} b")]
    long = " ".join(str(number) for number in range(2 * spec.max_seq_length))
    return [*_PROBES, *typed, long]


def _require_equal(text: str, theirs: list[int], ours: list[int], transformer: Any) -> None:
    if theirs == ours:
        return
    options = transformer.processing_kwargs
    reason = (
        f"processing_kwargs {json.dumps(options, default=str)} are not supported"
        if options
        else "a setting outside tokenizer.json decides them"
    )
    shown = text if len(text) <= 40 else f"{text[:40]}…"
    raise CheckpointError(
        f"its tokenizer cannot be exported: for {shown!r} tokenizer.json gives {_some(ours)}, and "
        f"sentence-transformers {_some(theirs)}; {reason}"
    )


def _require_prompt_lengths(model: Any, exported: TextTokenizer) -> None:
    for prompt in (*filter(None, model.prompts.values()), *_PROMPTS):
        theirs = model.preprocess(["word"], prompt=prompt).get("prompt_length")
        ours = exported.prompt_length(prompt)
        if theirs != ours:
            raise CheckpointError(
                f"its prompts are left out of pooling, and for {prompt!r} tokenizer.json gives {ours} tokens, but "
                f"sentence-transformers {theirs}; mark the tokenizer's special tokens as special in tokenizer.json"
            )


def _some(ids: list[int]) -> str:
    shown = ", ".join(map(str, ids[:_SHOWN_IDS]))
    return f"{len(ids)} ids ({shown}{', …' if len(ids) > _SHOWN_IDS else ''})"
