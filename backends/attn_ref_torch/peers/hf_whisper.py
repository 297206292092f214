"""Hugging Face's Whisper: an encoder of sound behind two convolutions, keys without a bias, a tied head.

Source: ``transformers/models/whisper/modeling_whisper.py``, which reads always as many frames and no mask of them. The
encoder's positions are waves, and lie in the file as any table.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from attn_ref.foreign.entry import key
from attn_ref.foreign.job import Job, Outcome
from attn_ref.foreign.peer import Spot
from attn_ref_torch.llama_config import tied
from attn_ref_torch.seq2seq import bart_entries, bart_names, blocks, family, of_attentions, spots

NAMES = {
    "token": "decoder.embed_tokens", "head": "proj_out", "stem.first": "encoder.conv1", "stem.second": "encoder.conv2",
    **bart_names(final_norm="layer_norm"),
}  # fmt: skip

MAP = family(
    "hf.Whisper",
    "Hugging Face WhisperForConditionalGeneration and WhisperModel",
    NAMES,
    ("whisper",),
    held=blocks("LayerNorm", "FeedForward", final_norm="LayerNorm", stem="ConvStem"),
    entries=(
        *bart_entries(default=0.0),
        key("num_mel_bins", "stem.channels", default=80),
        key("max_source_positions", "encoder.max_length", default=1500),
        key("max_target_positions", "decoder.max_length", default=448),
        tied(default=True),
    ),
    allowed={"encoder_layerdrop": (0.0,), "decoder_layerdrop": (0.0,), "apply_spec_augment": (False,)},
    always=dict.fromkeys(of_attentions("key_bias"), False),
    unsaid={"head": ("head.kernel", "own", None)},
    inputs=("features", "token_ids", "padding_mask"),
    prefixes=("model.", ""),
    outside=("proj_out.weight",),
    twins={"proj_out.weight": "decoder.embed_tokens.weight"},
)
MAPS = (MAP,)


def run_file(job: Job) -> Outcome:
    """Run the file of ``job``."""
    from attn_ref_torch.hugging_face_language import run, sequence_to_sequence

    def places(block: Any) -> Iterator[Spot]:
        return spots(NAMES, block, "model." if block.head else "")

    return run(MAP, places, job, **sequence_to_sequence("AutoModelForSpeechSeq2Seq"))
