"""What type checkers and editors see of the package, whose module loads its names when they are first used."""

from manyview import backbones as backbones
from manyview import config as config
from manyview import detection as detection
from manyview import evaluation as evaluation
from manyview import export as export
from manyview import heads as heads
from manyview import images as images
from manyview import labels as labels
from manyview import losses as losses
from manyview import measures as measures
from manyview import options as options
from manyview import pooling as pooling
from manyview import recipes as recipes
from manyview import report as report
from manyview import scenes as scenes
from manyview import views as views
from manyview.backbones import load_backbone as load_backbone
from manyview.recipes import pretrain as pretrain

__version__: str
