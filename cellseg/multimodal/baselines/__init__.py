"""The models that the fusion transformer is compared with: LSTM with attention, dual attention in two readings, M4C."""

from cellseg.multimodal.baselines.bilinear_attention import BilinearAttentionNetwork
from cellseg.multimodal.baselines.dual_attention import MatchingDualAttention, ReasoningDualAttention
from cellseg.multimodal.baselines.lstm_attention import LSTMAttentionCaptioner, LSTMAttentionFusion
from cellseg.multimodal.baselines.pointer import PointerCaptioner

__all__ = [
    "BilinearAttentionNetwork",
    "LSTMAttentionCaptioner",
    "LSTMAttentionFusion",
    "MatchingDualAttention",
    "PointerCaptioner",
    "ReasoningDualAttention",
]
