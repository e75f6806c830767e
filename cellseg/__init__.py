"""cellseg: cell instance segmentation by an ensemble of YOLOX, Mask R-CNN and UPerNet.

Importing this package is cheap and changes nothing; ``import cellseg.openmmlab`` prepares OpenMMLab.
"""

__version__ = "0.1.0"
