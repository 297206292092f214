"""Hugging Face's ``BertModel``: BERT, MiniLM and their like, and the encoder inside ``BertFor…`` checkpoints.

Source: ``transformers/models/bert/modeling_bert.py``; the names are those of its ``state_dict``.
"""

from attn_ref.port.hyper import FieldRules
from attn_ref.port.mapping import Map, Rule, linear, norm

HERE, THERE = "encoder.layer.{i}", "layers.{i}"

MAP = Map(
    name="hf.BertModel",
    summary="Hugging Face BertModel, with or without its pooler",
    formats=("safetensors", "torch_pt"),
    end="attn_ref_torch.peers.hf_bert:run_file",
    needs=("torch", "transformers"),
    extra="port",
    block="TextEncoder",
    rules=(
        Rule("embeddings.word_embeddings.weight", "token.embedding"),
        Rule("embeddings.position_embeddings.weight", "position.embedding"),
        Rule("embeddings.token_type_embeddings.weight", "segment.embedding"),
        *norm("embeddings.LayerNorm", "embedding_norm"),
        *linear(f"{HERE}.attention.self.query", f"{THERE}.attention.query"),
        *linear(f"{HERE}.attention.self.key", f"{THERE}.attention.key"),
        *linear(f"{HERE}.attention.self.value", f"{THERE}.attention.value"),
        *linear(f"{HERE}.attention.output.dense", f"{THERE}.attention.project"),
        *norm(f"{HERE}.attention.output.LayerNorm", f"{THERE}.attention_norm"),
        *linear(f"{HERE}.intermediate.dense", f"{THERE}.feed_forward.expand"),
        *linear(f"{HERE}.output.dense", f"{THERE}.feed_forward.reduce"),
        *norm(f"{HERE}.output.LayerNorm", f"{THERE}.feed_forward_norm"),
        *linear("pooler.dense", "pool"),
    ),
    unused={
        "embeddings.position_ids": "the numbers 0, 1, 2 …, a buffer of older versions and not a weight",
        "cls.*": "the heads of pre-training, which come after the encoder",
        "classifier.*": "a task's head, which comes after the encoder",
        "qa_outputs.*": "a task's head, which comes after the encoder",
    },
    prefixes=("", "bert."),
    spellings={"gamma, beta": {"LayerNorm.weight": "LayerNorm.gamma", "LayerNorm.bias": "LayerNorm.beta"}},
    beside=("pooling",),
    fields=FieldRules(
        sizes={
            "vocab_size": ("token.embedding", 0),
            "max_length": ("position.embedding", 0),
            "num_segments": ("segment.embedding", 0),
            "width": ("token.embedding", 1),
            "hidden_width": ("layers.0.feed_forward.expand.kernel", 1),
        },
        present={"pooler": "pool.kernel"},
        config={
            "vocab_size": "vocab_size",
            "max_length": "max_position_embeddings",
            "num_segments": "type_vocab_size",
            "width": "hidden_size",
            "num_layers": "num_hidden_layers",
            "num_heads": "num_attention_heads",
            "hidden_width": "intermediate_size",
            "activation": "hidden_act",
            "eps": "layer_norm_eps",
            "dropout": "hidden_dropout_prob",
            "attention_dropout": "attention_probs_dropout_prob",
        },
        values={
            "activation": {"gelu": "gelu", "gelu_new": "gelu_tanh", "gelu_pytorch_tanh": "gelu_tanh", "relu": "relu"},
        },
        allowed={
            "model_type": ("bert",),
            "position_embedding_type": ("absolute",),
            "is_decoder": (False,),
            "is_encoder_decoder": (False,),
            "add_cross_attention": (False,),
            "pruned_heads": ({}, None),
        },
        # what BertConfig takes where config.json is silent
        defaults={"activation": "gelu", "eps": 1e-12, "dropout": 0.1, "attention_dropout": 0.1},
        asked=("activation", "eps"),
    ),
)
