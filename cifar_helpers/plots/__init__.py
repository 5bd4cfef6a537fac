"""Arrays in, a matplotlib figure out.

Every function returns its `Figure` closed, so that a notebook shows it once: leave
the call as the last line of a cell, without a semicolon, or pass it to `display`.
Functions that take axes draw into them. Arrays may be NumPy arrays or torch tensors;
bad input raises `ValueError`.
"""

from cifar_helpers.plots.charts import dot_columns, histograms, line_chart
from cifar_helpers.plots.comparison import (
    bar_columns,
    bars_with_error,
    deviations,
    grouped_bars,
    histogram_panels,
    stacked_shares,
    vector_bars,
)
from cifar_helpers.plots.confusion import (
    confusion_difference,
    confusion_matrix,
    counts_and_shares,
    ordered_confusion,
)
from cifar_helpers.plots.convolution import (
    image_with_maps,
    kernel_tables,
    live_shares,
    number_grid,
    pixels_read,
    taps_alive,
    taps_on_image,
)
from cifar_helpers.plots.effects import (
    effects_with_intervals,
    gains_and_costs,
    means_of_pairs,
    one_among_many,
    paired_gains,
    run_spread,
    runs_with_switches,
    worse_wins,
)
from cifar_helpers.plots.evaluation import (
    claim_sizes,
    dots_with_intervals,
    selective_curves,
    threshold_curves,
)
from cifar_helpers.plots.fields import (
    dependency_matrices,
    field_growth,
    heat_maps,
    live_taps,
    paths_to_pixels,
    share_within,
    shares_within_squares,
    views,
)
from cifar_helpers.plots.images import (
    class_examples,
    image_grid,
    mean_images,
    mistakes,
    pixel_histogram,
)
from cifar_helpers.plots.layers import (
    kernel_places,
    kernel_responses,
    matrices,
    patch_channels,
    product_of_patch,
)
from cifar_helpers.plots.maps import (
    along_depth,
    lost_points,
    map_row,
    matrix_and_transpose,
    number_grids,
    stamps,
    taps_and_shares,
    valid_weights,
)
from cifar_helpers.plots.network import block_diagram, network_map
from cifar_helpers.plots.parts import maps_by_part, share_strips
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
from cifar_helpers.plots.training import line_panels, training_curves
from cifar_helpers.plots.trust import (
    before_and_after,
    confidence_rows,
    evidence_grid,
    feature_points,
    reader_beside_network,
    reliability_diagram,
    severity_curves,
)
