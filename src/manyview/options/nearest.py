"""The name that was meant: of several valid ones by another spelling, by a synonym, or the nearest."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from types import MappingProxyType

_CUTOFF = 0.6  # of difflib's ratio

# What other tools call it, without separators and in lower case; the first name that is valid counts.
SYNONYMS = MappingProxyType(
    {
        word: tuple(names.split())
        for words, names in (
            ("lr baselr initlr learningrate lr0", "learning_rate base_learning_rate"),
            ("bs bsz batch batchsize samplespergpu imsperbatch trainbatchsize", "batch_size"),
            (
                "size imgsz imgsize imagesize imsize inputsize resolution res cropsize viewsize",
                "view_size size short_side",
            ),
            ("wd decay l2 weightdecay", "weight_decay"),
            ("epoch maxepochs maxepoch numepochs nepochs numtrainepochs", "epochs"),
            ("iters iter iterations maxiter maxiters totaliters", "iterations steps"),
            ("step steps maxsteps numsteps totalsteps", "steps iterations"),
            ("mom beta1 sgdmomentum", "momentum"),
            ("ema emamomentum emadecay tau0", "method.momentum"),
            ("arch model net network architecture encoder", "backbone backbone.name architecture name"),
            ("gpus ngpus numgpus gpu nproc nprocpernode worldsize", "devices device"),
            ("numworkers nworkers nworker dataloadernumworkers jobs j threads", "workers"),
            ("tau temp t", "temperature"),
            ("amp fp16 half bf16 mixedprecision usefp16", "precision"),
            ("optim opt", "optimizer"),
            ("sched scheduler lrscheduler", "schedule"),
            ("warmup warmupiters", "warmup_epochs warmup_steps"),
            ("gradclip clipgrad clip maxgradnorm gradientclipval clipgradnorm", "clip_norm"),
            ("accumgrad gradaccum accumiter gradientaccumulationsteps accumulategradbatches", "accumulate"),
            ("output outputdir outdir savedir logdir project workdir o", "out"),
            ("data datadir dataset datapath imgdir imagedir root imagefolder source photos", "images"),
            ("pretrained weights checkpoint ckpt loadfrom initfrom", "init weights"),
            ("resumefrom autoresume", "resume"),
            ("queuesize queuelength mocok negatives", "queue"),
            ("outdim featdim featuredim projdim outputdim mocodim", "dim"),
            ("conf confidence scorethr scorethresh threshold confthres", "score_threshold threshold draw_threshold"),
            ("maxdet maxdets detectionsperimg maxperimg", "detections"),
            ("knn neighbors nn topk", "neighbours k"),
            ("randomseed manualseed", "seed"),
            ("gaussianblur", "blur"),
            ("colorjitter", "jitter"),
            ("gammaoverlap gamma", "overlap"),
            ("minscale cropmin randomresizedcrop areas", "scale"),
            ("labels annotations annfile annotationfile trainann", "train_labels labels"),
            ("evalinterval valinterval evalfreq", "eval_every"),
            ("tensorrt trt engine openvino tflite coreml ncnn tensorflow onnxruntime", "onnx"),
            ("torchscript jit pt2 torch", "torch-export"),
            ("coco coco1x 1x", "coco-1x"),
            ("voc voc07 pascalvoc voc24k", "voc-24k voc"),
            ("fasterrcnn maskrcnn retinanet fpnresnet50 featurepyramid", "fpn"),
            ("resnetc4 rcnnc4 dc5", "c4"),
            ("moco mocov3 moco2", "mocov2"),
            ("simsiam4", "simsiam-4pairs"),
            ("supcon", "sup"),
            ("default best", "recommended"),
            ("finetune adapt", "continue"),
        )
        for word in words.split()
    }
)


def nearest(name: str, names: Iterable[str]) -> list[str]:
    """The valid names that a wrong one may mean, the likeliest first; [] if none is near.

    Args:
        name: as given, such as "lr", "batchSize" or "epohcs".
        names: the valid ones; of names with dots, such as keys of settings, the last part counts, too.
    """
    known = list(names)
    spelled = [valid for valid in known if _bare(name) in (_bare(valid), _bare(valid.rpartition(".")[2]))]
    return spelled or _synonyms(name, known) or difflib.get_close_matches(name, known, n=1, cutoff=_CUTOFF)


def _synonyms(name: str, names: Iterable[str]) -> list[str]:
    """The names that the first synonym with any fits."""
    meant = SYNONYMS.get(_bare(name.rpartition(".")[2]), ())
    fits = ([valid for valid in names if candidate in (valid, valid.rpartition(".")[2])] for candidate in meant)
    return next((found for found in fits if found), [])


def _bare(name: str) -> str:
    """Letters and digits of a name in lower case."""
    return re.sub(r"[^a-z0-9]", "", name.lower())
