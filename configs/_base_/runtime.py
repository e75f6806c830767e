# What every training through mmengine shares: modules to import, log, checkpoints, exact resuming.
engine = "mmengine"
data_root = "data/demo"
fold = 0
class_names = "{class_names}"
seed = 0
iterations = 600

custom_imports = dict(
    imports=[
        "cellseg.openmmlab",
        "cellseg.datasets.cells",
        "cellseg.datasets.transforms",
        "cellseg.models.backbones",
        "cellseg.models.cell_map",
        "cellseg.models.rpn",
        "cellseg.training.evaluators",
        "cellseg.training.hooks",
    ],
    allow_failed_imports=False,
)

randomness = dict(seed="{seed}", deterministic=False)
env_cfg = dict(cudnn_benchmark=False, mp_cfg=dict(mp_start_method="fork", opencv_num_threads=0))
visualizer = dict(type="Visualizer", vis_backends=[])
log_level = "WARNING"
default_hooks = dict(
    logger=dict(type="TrainingLogHook", interval=20),
    checkpoint=dict(
        type="CheckpointHook",
        by_epoch=False,
        interval=100,
        max_keep_ckpts=1,
        save_best="{best_by}",
        rule="greater",
    ),
)
custom_hooks = [dict(type="ExactResumeHook")]
train_cfg = dict(type="IterBasedTrainLoop", max_iters="{iterations}", val_interval=100)
val_cfg = dict(type="ValLoop")
