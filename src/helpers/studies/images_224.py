"""`images_224`: the study `images` at the published size, ResNet18 first."""

from helpers.studies import images

STUDY = images.drawn(
    "images_224",
    size=224,
    shorter=256,
    first="resnet18",
    defaults={
        "rows": 800,
        "validation_rows": 200,
        "test_rows": 1000,
        "epochs": 6,
        "batch_size": 32,
        "learning_rate": 0.001,
    },
)
