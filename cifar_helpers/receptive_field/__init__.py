"""What a unit of a network can see of the image (traced exactly) and does see.

`receptive_field` answers what a unit *can* see, `effective_receptive_field` what it
*does* see: how strongly its value reacts to each pixel of real images.
"""

from cifar_helpers.receptive_field.measured import (
    EffectiveField,
    effective_receptive_field,
)
from cifar_helpers.receptive_field.rules import register, transposed_window, window
from cifar_helpers.receptive_field.tracing import (
    LayerField,
    as_rows,
    as_table,
    receptive_field,
)
