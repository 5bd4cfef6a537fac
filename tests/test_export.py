"""Exported, traced and compiled, the networks answer as they do in PyTorch."""

import io
import shutil
import warnings

import pytest
import torch
from torch.onnx import export

from cifar_helpers.data import load_cifar10, normalize
from cifar_helpers.depthwise import DepthwiseConv2d
from cifar_helpers.pretrained import load_pretrained

NETWORKS = ("baseline", "cpu", "separable", "champion")


@pytest.fixture(scope="module")
def images():
    """64 normalized images of the sample."""
    return normalize(load_cifar10(source="sample").test.images[:64])


@pytest.fixture(scope="module", params=NETWORKS)
def model(request):
    return load_pretrained(request.param)


def assert_same_answers(way, model, images, counts=(64, 5)):
    """`way(images)` is what the model says, for other numbers of images as well."""
    with torch.no_grad():
        for batch in (images[:count] for count in counts):
            expected = model(batch)
            assert expected.std(0).min() > 1e-3  # the answer depends on the image
            torch.testing.assert_close(way(batch), expected, rtol=0, atol=1e-4)


def onnx_of(model, images, **options):
    """The model as a function that ONNX Runtime computes."""
    runtime = pytest.importorskip("onnxruntime")
    file = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of the older exporter
        warnings.simplefilter("ignore", FutureWarning)
        warnings.filterwarnings("error", category=torch.jit.TracerWarning)
        export(model, (images,), file, input_names=["images"], **options)
    session = runtime.InferenceSession(file.getvalue())
    return lambda x: torch.from_numpy(session.run(None, {"images": x.numpy()})[0])


def test_onnx_by_tracing(model, images):
    axes = {"images": {0: "n"}}
    way = onnx_of(model, images, dynamo=False, dynamic_axes=axes)
    assert_same_answers(way, model, images)


@pytest.mark.slow
def test_onnx_by_torch_export(model, images):
    pytest.importorskip("onnxscript")
    axes = ({0: torch.export.Dim("n")},)
    way = onnx_of(model, images, dynamo=True, verbose=False, dynamic_shapes=axes)
    assert_same_answers(way, model, images)


def saved_trace(model, images):
    """The model traced, written to a file and read back."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # torch.jit is deprecated
        warnings.simplefilter("ignore", DeprecationWarning)
        warnings.filterwarnings("error", category=torch.jit.TracerWarning)
        file = io.BytesIO()
        torch.jit.save(torch.jit.trace(model, images), file)
        file.seek(0)
        return torch.jit.load(file)


def test_torch_jit_trace(model, images):
    assert_same_answers(saved_trace(model, images), model, images)


def test_torch_export(model, images):
    axes = ({0: torch.export.Dim("n")},)
    program = torch.export.export(model, (images,), dynamic_shapes=axes)
    file = io.BytesIO()
    torch.export.save(program, file)
    file.seek(0)
    assert_same_answers(torch.export.load(file).module(), model, images)


def test_torch_compile_without_a_compiler(model, images):
    """The graph that PyTorch takes, whole, run by PyTorch's own operations."""
    torch.compiler.reset()
    way = torch.compile(model, backend="aot_eager", fullgraph=True)
    assert_same_answers(way, model, images, counts=[64])


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("g++"), reason="needs a C++ compiler")
def test_torch_compile(images):
    torch.compiler.reset()
    model = load_pretrained("cpu")
    way = torch.compile(model, fullgraph=True)
    assert_same_answers(way, model, images, counts=[64])


@pytest.mark.parametrize("dilation, stride", [(2, 1), (8, 1), (4, 2)])
def test_an_exported_filter_is_one_convolution(dilation, stride):
    layer, x = DepthwiseConv2d(4, dilation, stride), torch.randn(2, 4, 16, 16)
    kinds = [node.kind() for node in saved_trace(layer, x).inlined_graph.nodes()]
    assert kinds.count("aten::_convolution") == 1
    assert not {"aten::addcmul_", "aten::permute", "aten::slice"} & set(kinds)


def test_compiled_training_has_the_gradients_of_eager():
    torch.compiler.reset()
    layers = torch.nn.Sequential(
        DepthwiseConv2d(3, 2), DepthwiseConv2d(3, 8), DepthwiseConv2d(3, 4, 2)
    ).double()
    x = torch.randn(2, 3, 16, 16, dtype=torch.float64, requires_grad=True)
    wanted = torch.autograd.grad(layers(x).square().sum(), (x, *layers.parameters()))
    y = torch.compile(layers, backend="aot_eager", fullgraph=True)(x)
    got = torch.autograd.grad(y.square().sum(), (x, *layers.parameters()))
    torch.testing.assert_close(got, wanted)
