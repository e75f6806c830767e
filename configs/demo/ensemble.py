# The demo's ensemble: its three small members vote; every image holds one cell type, as Sartorius images do.
data_root = "data/demo"
fold = 0
members = [
    dict(type="yolox", work_dir="work_dirs/demo/yolox"),
    dict(type="mask_rcnn", work_dir="work_dirs/demo/mask_rcnn"),
    dict(type="upernet", work_dir="work_dirs/demo/upernet", views="mirrors"),
]
fusion = dict(method="wbf", iou_threshold=0.55, across_classes=True, one_type=True)
