"""The recipes of SiamRPN++, on the four data sets that pysot prepares.

Those with ResNet-50 and AlexNet are as published: pysot's experiments/siamrpn_r50_l234_dwxcorr_8gpu and
siamrpn_alex_dwxcorr_16gpu, and its training code. pysot published no training settings of the models with MobileNetV2
and for long-term tracking; their recipes take those of ResNet-50. docs/siamrpnpp.md lists what differs.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from singletrack.datasets.pysot_crops import Views
from singletrack.models.configs import SiamRPNConfig
from singletrack.registry import network_config
from singletrack.tracking.siamrpn import SiamRPNSettings
from singletrack.training.base import Recipe, Stage
from singletrack.training.data.pysot import CroppedPairs
from singletrack.training.tasks.siamrpn import SiamRPNTask

PAIRS_AN_EPOCH = 600_000
BATCH = 224  # 28 on each of eight GPUs; the learning rates below belong to it
STEPS_AN_EPOCH = PAIRS_AN_EPOCH // BATCH


def siamrpnpp_r50() -> Recipe:
    """SiamRPN++ with ResNet-50 on VID, YouTube-BB, DET and COCO, as published for eight GPUs.

    Command: ``singletrack train siamrpnpp_r50 --data vid=DIR --data youtubebb=DIR --data det=DIR --data coco=DIR
    --weights resnet50.model --device cuda --devices 8 --workers 4``.

    Cost: 20 epochs of 600,000 pairs. For the first ten, the backbone is frozen; then everything except its stem and
    first stage is trained at a tenth of the learning rate. The learning rate rises to its peak over five epochs and
    falls to a tenth of it.
    """
    return _like_r50("siamrpnpp_r50", "siamrpnpp-r50", "resnet50.model of pysot, a ResNet-50 for ImageNet")


def siamrpnpp_mobilenet() -> Recipe:
    """SiamRPN++ with MobileNetV2, with the settings of ``siamrpnpp_r50``, because pysot published none for it.

    Command: ``singletrack train siamrpnpp_mobilenet --data vid=DIR --data youtubebb=DIR --data det=DIR --data coco=DIR
    --weights MOBILENET --device cuda --devices 8 --workers 4``.

    After ten epochs, stages 3 to 7 of the backbone are trained as well: those that feed heads and what is between
    them. MOBILENET is a MobileNetV2 of width 1.4 for ImageNet, with the tensor names of pysot (layer0 to layer7). The
    scores of pysot's own weights are not those of this recipe, which has not been run to the end here.
    """
    starts_from = "a MobileNetV2 of width 1.4 for ImageNet, with the tensor names of pysot"
    return _like_r50("siamrpnpp_mobilenet", "siamrpnpp-mobilenet", starts_from, settings_of="siamrpnpp_r50")


def siamrpnpp_r50_lt() -> Recipe:
    """SiamRPN++ for long-term tracking, with the settings of ``siamrpnpp_r50``, because pysot published none for it.

    Command: ``singletrack train siamrpnpp_r50_lt --data vid=DIR --data youtubebb=DIR --data det=DIR --data coco=DIR
    --weights resnet50.model --device cuda --devices 8 --workers 4``.

    The network has other widths after the backbone; the search while the target is lost is not trained. The scores of
    pysot's own weights are not those of this recipe, which has not been run to the end here.
    """
    starts_from = "resnet50.model of pysot, a ResNet-50 for ImageNet"
    return _like_r50("siamrpnpp_r50_lt", "siamrpnpp-r50-lt", starts_from, settings_of="siamrpnpp_r50")


def _like_r50(name: str, model: str, starts_from: str, settings_of: str = "") -> Recipe:
    """Build a recipe with the settings that are published for ResNet-50."""
    task = SiamRPNTask(config=network_config(model, SiamRPNConfig), settings=SiamRPNSettings())
    ten_epochs, fall = 10 * STEPS_AN_EPOCH, 10 ** (-1 / 14)  # fourteen epochs after the fifth, to a tenth
    heads = Stage(
        name="heads",
        task=task,
        source=CroppedPairs(),
        template_size=127,
        search_size=255,
        steps=ten_epochs,
        batch=BATCH,
        lr=0.0,
        head_lr=5e-3,
        warmup=5 * STEPS_AN_EPOCH,
        warmup_from=0.2,
        schedule="exponential",
        last_lr=fall**5,
        check_every=STEPS_AN_EPOCH,
    )
    rate = heads.head_lr * heads.last_lr
    whole = replace(heads, name="whole", lr=rate / 10, head_lr=rate, warmup=0, warmup_from=0.0, last_lr=fall**10)
    return Recipe(
        name=name,
        model=model,
        stages=(heads, whole),
        optimizer="sgd",
        weight_decay=1e-4,
        clip=10.0,
        whole_batch=False,
        starts_from=starts_from,
        settings_of=settings_of,
    )


def siamrpnpp_alex() -> Recipe:
    """SiamRPN++ with AlexNet on VID, YouTube-BB, DET and COCO, as published for sixteen GPUs.

    Command: ``singletrack train siamrpnpp_alex --data vid=DIR --data youtubebb=DIR --data det=DIR --data coco=DIR
    --weights alexnet-bn.pth --device cuda --devices 8 --workers 4``.

    Cost: 50 epochs of 600,000 pairs. For the first ten, the backbone is frozen; then its last two layers are trained at
    the same learning rate, which rises from 0.005 to 0.01 over five epochs and falls to 0.0005. One pair in twenty
    shows another target.
    """
    task = SiamRPNTask(config=network_config("siamrpnpp-alex", SiamRPNConfig), settings=SiamRPNSettings())
    batch = 16 * 128
    epoch, fall = PAIRS_AN_EPOCH // batch, 0.05 ** (1 / 44)  # 44 epochs after the sixth, to a twentieth
    heads = Stage(
        name="heads",
        task=task,
        source=CroppedPairs(views=Views(other=0.05)),
        template_size=127,
        search_size=255,
        steps=10 * epoch,
        batch=batch,
        lr=0.0,
        head_lr=1e-2,
        warmup=5 * epoch,
        warmup_from=0.5,
        schedule="exponential",
        last_lr=fall**5,
        check_every=epoch,
    )
    rate = heads.head_lr * heads.last_lr
    whole = replace(
        heads, name="whole", steps=40 * epoch, lr=rate, head_lr=rate, warmup=0, warmup_from=0.0, last_lr=fall**40
    )
    return Recipe(
        name="siamrpnpp_alex",
        model="siamrpnpp-alex",
        stages=(heads, whole),
        optimizer="sgd",
        weight_decay=1e-4,
        clip=10.0,
        whole_batch=False,
        starts_from="alexnet-bn.pth of pysot, an AlexNet for ImageNet",
    )


SIAMRPN: dict[str, Callable[[], Recipe]] = {
    recipe.__name__: recipe for recipe in (siamrpnpp_r50, siamrpnpp_alex, siamrpnpp_mobilenet, siamrpnpp_r50_lt)
}
