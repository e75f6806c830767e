"""The detector: networks and trainer of the ``yolox`` package, fed with data folders, on CPU as well as CUDA.

The package trains; the modules here give it cells instead of COCO's street scenes:

- ``settings``: what ``exp=dict(...)`` of a config may say;
- ``network``: the package's YOLOX with strides fine enough for small cells;
- ``outlines``, ``data``: exact boxes under crops, mosaic and affine maps, and a reproducible order of samples;
- ``exp``, ``trainer``, ``evaluator``: subclasses of the package's Exp, Trainer and COCOEvaluator;
- ``inference``: boxes of an image of any size;
- ``checkpoints``: weights in and out.
"""
