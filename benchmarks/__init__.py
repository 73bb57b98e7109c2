"""Benchmarks of manyview, as commands that are run from the root of the repository; most write JSON.

python -m benchmarks.views                       views a second on one core, compared with other libraries
python -m benchmarks.views.operations            where the time of a photograph's views goes
python -m benchmarks.views.parity                difference of each renderer from the reference
python -m benchmarks.views.frequencies           frequency of each random choice
python -m benchmarks.training.step               where the time of a training step goes
python -m benchmarks.training.loader             training with data loading, compared with training on ready batches
python -m benchmarks.training.starting           seconds that the command takes to start
python -m benchmarks.training.memory             memory of a run over its epochs
python -m benchmarks.training.communication      two processes beside one
python -m benchmarks.training.large_collections  a collection of very many images
python -m benchmarks.loss                        memory and time of the image-aware loss, compared with other libraries
python -m benchmarks.peers.runs                  whole training runs, compared with other libraries
python -m benchmarks.peers.hours                 core time to a given quality, compared with lightly's loops
python -m benchmarks.evaluation.extraction       feature extraction, compared with the bare network
python -m benchmarks.evaluation.head             the linear head, compared with scikit-learn
python -m benchmarks.evaluation.quality          comparison of the recipes
python -m benchmarks.evaluation.curves           mAP over the views seen in pre-training, of finished runs
python -m benchmarks.evaluation.instruments      what backbones are worth by each type of linear classifier
python -m benchmarks.evaluation.imagenet         an ImageNet network's weights as a checkpoint
python -m benchmarks.evaluation.several          all evaluations of several backbones
python -m benchmarks.detection.fine_tuning       the same detector on several backbones
python -m benchmarks.detection.loop              pace of fine-tuning, compared with torchvision's reference loop
python -m benchmarks.equality                    whether two checkouts compute the same weights and figures, to the bit
python -m benchmarks.structure                   files, functions, names and import cycles of one checkout, or of two
python -m benchmarks.gpu                         everything that needs a GPU
"""
