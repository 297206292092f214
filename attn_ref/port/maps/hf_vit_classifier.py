"""Hugging Face's ``ViTForImageClassification``: ``ViTModel`` and a linear layer on its class token."""

from attn_ref.port.maps.hf_vit import CLASSIFIER as MAP

__all__ = ["MAP"]
