"""What a unit of a network can see of the image, and what it does see.

`receptive_field` answers what a unit *can* see: it follows the model operation by
operation and knows, for every output position, the exact set of pixels behind it.
`effective_receptive_field` answers what a unit *does* see: how strongly its value
reacts to each pixel of real images (Luo et al. 2016).

The modules; each imports only from those before it: `dependency` (which pixels each
position of a map depends on), `rules` (how each operation reads its input; `register`
adds one of your own), `graph` (the operations of a model), `fields` (what is told of
each), `tracing` (follows a model through its graph). `measured` (the effective
receptive field) stands beside them.
"""

from cifar_helpers.receptive_field.fields import LayerField, as_rows
from cifar_helpers.receptive_field.measured import (
    EffectiveField,
    effective_receptive_field,
)
from cifar_helpers.receptive_field.rules import register, transposed_window, window
from cifar_helpers.receptive_field.tracing import receptive_field
