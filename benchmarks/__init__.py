"""Benchmarks of manyview, as commands that are run from the root of the repository; most write JSON.

python -m benchmarks.views          views a second on one core, compared with other libraries
python -m benchmarks.parity         difference of each renderer from the reference
python -m benchmarks.frequencies    frequency of each random choice
python -m benchmarks.loader         training with data loading, compared with training on a tensor in memory
python -m benchmarks.extraction     feature extraction, compared with the bare network
python -m benchmarks.head           the linear head, compared with scikit-learn
python -m benchmarks.quality        comparison of the recipes
python -m benchmarks.curves         mAP over the views seen in pre-training, of finished runs
python -m benchmarks.instruments    what backbones are worth by each type of linear classifier
python -m benchmarks.imagenet       an ImageNet network's weights as a checkpoint
python -m benchmarks.evaluations    all evaluations of several backbones
python -m benchmarks.detection      the same detector on several backbones
python -m benchmarks.equality       whether two checkouts compute the same weights and figures, to the bit
python -m benchmarks.structure      files, functions, names and import cycles of one checkout, or of two side by side
python -m benchmarks.gpu            everything that needs a GPU
"""
