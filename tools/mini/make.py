"""Make the miniature model from nothing: tokenizer, text encoder, VAE, latents, transformer, export, evaluation.

    pip install -r tools/mini/requirements.txt
    OMP_WAIT_POLICY=passive OMP_NUM_THREADS=1 torchrun --nproc-per-node 2 tools/mini/make.py --work /tmp/zimage-mini

Every stage goes on from its checkpoint in the work folder, so the command can be repeated after an interruption; delete
a stage's file there to train it anew. Budgets are minutes of training.
"""

import argparse
import pathlib

import evaluate
import export
import flow
import text
import vae
from common import join_processes, one_process, rank

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", required=True, help="folder for checkpoints and latents")
    parser.add_argument("--model", default=str(ROOT / "models/mini"), help="where the model goes")
    parser.add_argument("--curves", default=str(HERE / "log"), help="where the loss curves go")
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    parser.add_argument("--text-minutes", type=float, default=4)
    parser.add_argument("--vae-minutes", type=float, default=15)
    parser.add_argument("--decoder-minutes", type=float, default=20)
    parser.add_argument("--flow-minutes", type=float, default=120)
    parser.add_argument("--latents", type=int, default=12000)
    parser.add_argument("--latents-minutes", type=float, default=8)
    chosen = parser.parse_args()
    join_processes()
    text.train(chosen.text_minutes, chosen.work, chosen.curves, chosen.device)
    vae.train("vae", chosen.vae_minutes, chosen.work, chosen.curves, chosen.device)
    vae.train("decoder", chosen.decoder_minutes, chosen.work, chosen.curves, chosen.device)
    with one_process():
        flow.cache_latents(chosen.work, chosen.latents, chosen.latents_minutes, chosen.device)
    flow.train(chosen.flow_minutes, chosen.work, chosen.curves, chosen.device)
    if rank() == 0:
        prove(chosen)


def prove(chosen):
    """Export the model, render the held-out prompts with it and judge them."""
    export.export(chosen.work, chosen.model)
    evaluation = evaluate.load_list(ROOT / "tests/data/mini/evaluation.json")
    evaluate.render_all(chosen.model, evaluation, f"{chosen.work}/evaluation")
    evaluate.judge_folder(evaluation, f"{chosen.work}/evaluation")


if __name__ == "__main__":
    main()
