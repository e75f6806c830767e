# What every YOLOX training shares. exp=dict(...) holds the settings of the yolox package's Exp and a few for cells;
# cellseg/models/yolox/settings.py explains each of them and refuses names that it does not know.
engine = "yolox"
data_root = "data/demo"
fold = 0
class_names = "{class_names}"
seed = 0
# How much larger than stored the network sees an image, in training as in use.
magnification = 1.0

exp = dict(
    seed="{seed}",
    image_scale="{magnification}",
    # Hundreds of cells meet in one mosaic; the package would keep 120.
    max_labels=2000,
    mosaic_prob=1.0,
    degrees=10.0,
    translate=0.1,
    shear=2.0,
    flip_prob=0.5,
    turn_prob=1.0,
    light_prob=1.0,
    # Half-transparent cells over cells are nothing that a microscope shows.
    enable_mixup=False,
    test_conf=0.01,
    nmsthre=0.65,
)
