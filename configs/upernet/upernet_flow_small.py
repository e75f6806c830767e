# Small UPerNet (background, cell types, rim, and flows beside them) from random weights, for two CPU cores: minutes.
_base_ = ["../_base_/upernet_small.py"]

# Flows are learned for what they teach the features; the ensemble member reads the classes. docs/results.md has what
# they are worth.
flows = True
model = dict(type="FlowSegmentor", decode_head=dict(type="FlowUPerHead", flow_weight=2.0))
