"""Run a recipe: train the members on all folds and seeds, tune and compare the ensembles, pool the tables."""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from cellseg.cli import add_device, make_parser, run_command


def build_parser() -> argparse.ArgumentParser:
    """The command line of this tool."""
    parser = make_parser(
        "Train what a recipe lists on every fold and with every seed, tune its ensembles, score them on the images\n"
        "that were held out, and pool the scores. It runs the commands that one would type (--dry-run shows them),\n"
        "several at a time. Given again after a stop, it goes on with what is missing; a step whose command has\n"
        "changed runs again, and what depends on it. A recipe is Python and gets executed: open only files that you\n"
        "trust.",
        "python tools/run_recipe.py configs/recipes/nuclei.py --data data/nuclei --out work_dirs/nuclei --seeds 0",
    )
    parser.add_argument("recipe", help="recipe, for example configs/recipes/nuclei.py")
    parser.add_argument("--out", required=True, metavar="DIR", help="folder for everything; tables in DIR/ENSEMBLE")
    parser.add_argument("--data", metavar="DIR", help="data folder of tools/prepare_data.py (default: the recipe's)")
    parser.add_argument("--folds", type=int, nargs="+", metavar="N", help="these folds (default: the recipe's)")
    parser.add_argument("--seeds", type=int, nargs="+", metavar="N", help="these seeds (default: the recipe's)")
    parser.add_argument("--jobs", type=int, metavar="N", help="commands at a time (default: one for each core)")
    parser.add_argument("--amp", action="store_true", help="train with mixed precision (CUDA only)")
    add_device(parser)
    parser.add_argument("--dry-run", action="store_true", help="print the commands and run none")
    return parser


def run(options: argparse.Namespace) -> int:
    """Run what is not done yet; say how long it took."""
    from cellseg.recipes.recipe import check_data, load_recipe, recipe_steps, with_runs
    from cellseg.recipes.steps import run_steps

    recipe = with_runs(load_recipe(options.recipe), options.data, options.folds, options.seeds)
    steps = recipe_steps(recipe, options.out, options.device, options.amp)
    if options.dry_run:
        print("\n".join(step.text for step in steps))
        return 0
    check_data(recipe)
    ended = run_steps(steps, options.jobs, Path(options.out) / "steps")
    seconds = sum(one.seconds or 0 for one in ended)
    done_before = sum(one.seconds is None for one in ended)
    print(f"\n{len(ended)} steps, {done_before} of them done before; the others took {seconds:.0f} s together")
    for name in recipe.compared:
        print(f"\n{name}: {options.out}/{name}/pooled.md\n\n{(Path(options.out) / name / 'pooled.md').read_text()}")
    return 0


def main(arguments: list[str] | None = None) -> int:
    """Entry point; returns the exit code."""
    return run_command(build_parser(), run, arguments)


if __name__ == "__main__":
    sys.exit(main())
