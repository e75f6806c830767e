"""Importing cellseg.openmmlab prepares everything, says nothing and can be repeated."""

import subprocess
import sys


def run(code: str, *options: str) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, *options, "-c", code], capture_output=True, text=True)


def test_importing_is_quiet_and_light():
    code = (
        "import logging, sys\nimport cellseg.openmmlab\n"
        "heavy = {'mmdet', 'mmseg', 'mmcv.ops', 'torchvision', 'matplotlib.pyplot'} & sys.modules.keys()\n"
        "assert not heavy, heavy\nassert not logging.getLogger().handlers\n"
    )
    done = run(code, "-W", "error::UserWarning", "-W", "error::FutureWarning")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_importing_cellseg_alone_prepares_nothing():
    done = run("import sys, cellseg\nassert not {'torch', 'mmengine', 'mmcv'} & sys.modules.keys()")
    assert done.returncode == 0, done.stderr


def test_preparing_again_changes_nothing():
    code = (
        "import sys, warnings, torch, mmengine.runner as runner\nimport cellseg.openmmlab as prepared\n"
        "from cellseg.openmmlab import checkpoints, ops, quiet, saving\n"
        "def state():\n"
        "    return (set(torch.serialization.get_safe_globals()), sys.modules['mmcv._ext'], list(sys.meta_path),\n"
        "            dict(runner.CheckpointLoader._schemes), list(warnings.filters))\n"
        "before = state()\n"
        "quiet.silence_harmless_warnings(); ops.install_ops(); checkpoints.allow_mmengine_types()\n"
        "checkpoints.register_loaders(); saving.register_saving()\n"
        "assert state() == before\n"
    )
    done = run(code)
    assert done.returncode == 0, done.stderr


def test_only_the_known_warnings_are_silenced():
    code = (
        "import warnings\nwarnings.simplefilter('default')\nimport cellseg.openmmlab as prepared\n"
        "import mmengine.utils.package_utils as utils\n"
        "utils.get_installed_path('mmdet')\nprepared.register_all_modules()\n"
        "warnings.warn('pkg_resources is deprecated as an API')\nwarnings.warn('of another kind')\n"
    )
    done = run(code)
    assert done.returncode == 0, done.stderr
    shown = [line.partition("Warning: ")[2] for line in done.stderr.splitlines() if "Warning: " in line]
    assert shown == ["pkg_resources is deprecated as an API", "of another kind"], done.stderr
