"""Configured: transformers' architectures, tiny, from configuration objects."""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import nn

from zoo_models.entry import IDS, Entry, images, texts, waves

WIDTH, HEADS, LAYERS, INNER, SIDE = 64, 4, 2, 128, 32
USUAL = {
    "vocab_size": IDS,
    "hidden_size": WIDTH,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": HEADS,
    "intermediate_size": INNER,
    "max_position_embeddings": 64,
}
DECODER = USUAL | {"num_key_value_heads": 2, "use_cache": False, "pad_token_id": 0}
PICTURE = {"image_size": SIDE, "patch_size": 8, "num_labels": 10}
# name -> class of the model, class of its configuration, that one's arguments
MODELS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "bert": ("BertForSequenceClassification", "BertConfig", USUAL),
    "roberta": ("RobertaForSequenceClassification", "RobertaConfig", USUAL | {"pad_token_id": 0}),
    "electra": ("ElectraForSequenceClassification", "ElectraConfig", USUAL),
    "albert": ("AlbertForSequenceClassification", "AlbertConfig", USUAL | {"embedding_size": 32}),
    "distilbert": (
        "DistilBertForSequenceClassification",
        "DistilBertConfig",
        {"vocab_size": IDS, "dim": WIDTH, "n_layers": LAYERS, "n_heads": HEADS}
        | {"hidden_dim": INNER, "max_position_embeddings": 64},
    ),
    "gpt2": (
        "GPT2LMHeadModel",
        "GPT2Config",
        {"vocab_size": IDS, "n_embd": WIDTH, "n_layer": LAYERS, "n_head": HEADS}
        | {"n_positions": 64, "use_cache": False, "bos_token_id": 0, "eos_token_id": 0},
    ),
    "llama": ("LlamaForCausalLM", "LlamaConfig", DECODER),
    "qwen2": ("Qwen2ForCausalLM", "Qwen2Config", DECODER),
    "t5 encoder": (
        "T5EncoderModel",
        "T5Config",
        {"vocab_size": IDS, "d_model": WIDTH, "d_kv": 16, "d_ff": INNER}
        | {"num_layers": LAYERS, "num_heads": HEADS},
    ),
    "vit": ("ViTForImageClassification", "ViTConfig", USUAL | PICTURE),
    "deit": ("DeiTForImageClassification", "DeiTConfig", USUAL | PICTURE),
    "swin": (
        "SwinForImageClassification",
        "SwinConfig",
        {"image_size": SIDE, "patch_size": 2, "embed_dim": 32, "depths": [2, 2]}
        | {"num_heads": [2, 4], "window_size": 4, "num_labels": 10},
    ),
    "whisper encoder": (
        "WhisperForAudioClassification",
        "WhisperConfig",
        {"vocab_size": IDS, "d_model": WIDTH, "encoder_layers": LAYERS, "num_mel_bins": 16}
        | {"encoder_attention_heads": HEADS, "encoder_ffn_dim": INNER, "num_labels": 10}
        | {"max_source_positions": 32, "pad_token_id": 0, "eos_token_id": 1}
        | {"bos_token_id": 1, "decoder_start_token_id": 1},
    ),
    "wav2vec2": (
        "Wav2Vec2ForSequenceClassification",
        "Wav2Vec2Config",
        {"hidden_size": WIDTH, "num_hidden_layers": LAYERS, "num_attention_heads": HEADS}
        | {"intermediate_size": INNER, "vocab_size": IDS, "num_labels": 10}
        | {"conv_dim": (32, 32, 32), "conv_stride": (5, 4, 2), "conv_kernel": (10, 8, 4)}
        | {"num_feat_extract_layers": 3, "num_conv_pos_embeddings": 16}
        | {"num_conv_pos_embedding_groups": 4, "classifier_proj_size": 32},
    ),
}


def _made(name: str) -> nn.Module:
    import transformers

    torch.manual_seed(0)
    model, config, given = MODELS[name]
    return getattr(transformers, model)(getattr(transformers, config)(**given)).eval()


def _pictures(count: int, seed: int) -> Any:
    return {"pixel_values": images(count, SIDE, seed)}


def _sounds(count: int, seed: int) -> Any:
    return {"input_values": waves(count, 2000, seed)}


def _spectra(count: int, seed: int) -> Any:
    """Each sound has bands of its own; of noise alone the mean over time is the same for all."""
    bands = 3 * torch.randn(count, 16, 1, generator=torch.Generator().manual_seed(seed))
    return {"input_features": bands + waves(count, 16 * 64, seed).view(count, 16, 64)}


INPUTS: dict[str, Callable[[int, int], Any]] = dict.fromkeys(("vit", "deit", "swin"), _pictures)
INPUTS |= {"whisper encoder": _spectra, "wav2vec2": _sounds}
ENTRIES = tuple(
    Entry(f"{name} (tiny)", "transformers", partial(_made, name), INPUTS.get(name, texts))
    for name in MODELS
)
