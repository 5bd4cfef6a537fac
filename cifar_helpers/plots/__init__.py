"""Arrays in, a matplotlib figure out.

Every function returns its `Figure` closed, so that a notebook shows it once: leave
the call as the last line of a cell, without a semicolon, or pass it to `display`.
Functions that take axes draw into them. Arrays may be NumPy arrays or torch tensors;
bad input raises `ValueError`.
"""

from cifar_helpers.plots.comparison import bar_columns, bars_with_error
from cifar_helpers.plots.convolution import number_grid, taps_on_image
from cifar_helpers.plots.effects import (
    effects_with_intervals,
    gains_and_costs,
    means_of_pairs,
    one_among_many,
    run_spread,
    runs_with_switches,
    worse_wins,
)
from cifar_helpers.plots.evaluation import (
    confusion_matrix,
    per_class_bars,
    reliability_diagram,
)
from cifar_helpers.plots.images import (
    class_counts,
    class_examples,
    image_grid,
    mean_images,
    mistakes,
    overlay_map,
    overlay_maps,
    pixel_histogram,
)
from cifar_helpers.plots.network import block_diagram, network_map
from cifar_helpers.plots.style import (
    BLUE,
    DIVERGING,
    GREEN,
    INK,
    ORANGE,
    PALETTE,
    PURPLE,
    SEQUENTIAL,
    SKY,
    SOFT,
    VERMILION,
    WIDTH,
    YELLOW,
    apply_style,
    display_png,
    new_figure,
)
from cifar_helpers.plots.training import training_curves
