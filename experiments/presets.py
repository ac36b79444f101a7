"""Presets: named sizes. Each holds the size of the generated corpora and the recipe of every stage."""

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType

from components.corpora.generated.config import GeneratedConfig, tiny
from components.networks.backend import BackendConfig
from components.networks.short_chunk_cnn import ShortChunkCNNConfig
from components.networks.spectrogram import MelConfig, SpectrogramConfig
from components.networks.spectrogram_transformer import SpectrogramTransformerConfig
from components.networks.unet import UNetConfig
from components.objectives.classification import SegmentConfig
from components.objectives.separation import Part, RemixConfig, SeparationLossConfig
from components.training.training_config import Phase, TrainingConfig
from study.command.preset import Preset
from study.design.recipe import BackendRecipe, Recipe

DEMO_HOP_SAMPLES = 320
DEMO_FRAMES = 128
# The U-Net's learning rate at the level "slow", as a share of the others'.
SLOW = 0.1

# Half the paper's mel bins, a sixth of its frames and half its blocks; maps enter every block but the first.
DEMO_TRANSFORMER = SpectrogramTransformerConfig(
    num_frames=DEMO_FRAMES, num_mels=64, patch=(16, 8), num_blocks=6, insertion_blocks=(5, 4, 3, 2, 1)
)


def _separation(
    num_steps: int, *, steps_per_epoch: int, batch_size: int = 4, learning_rate: float = 2e-3
) -> TrainingConfig:
    num_epochs = num_steps // steps_per_epoch
    return TrainingConfig(
        phases=(Phase(optimiser="adam", learning_rate=learning_rate, schedule="one_cycle", num_epochs=num_epochs),),
        batch_size=batch_size,
        steps_per_epoch=steps_per_epoch,
        max_epochs=num_epochs,
        validate_every=num_epochs,
        monitor="loss",
        better="lower",
        keep="last",
    )


def _classification(
    num_epochs: int, *, learning_rate: float, validate_every: int, batch_size: int = 16
) -> TrainingConfig:
    phase = Phase(
        optimiser="adamw",
        learning_rate=learning_rate,
        weight_decay=1e-2,
        schedule="one_cycle",
        num_epochs=num_epochs,
    )
    return TrainingConfig(
        phases=(phase,),
        batch_size=batch_size,
        max_epochs=num_epochs,
        validate_every=validate_every,
        monitor="loss",
        better="lower",
    )


def _backend(network: BackendConfig, *, learning_rate: float) -> BackendRecipe:
    alone = _classification(20, learning_rate=learning_rate, validate_every=10)
    # A step is six times the work if the U-Net learns: fewer epochs keep such an arm as short as the others.
    return _recipe(network, alone, _classification(8, learning_rate=learning_rate, validate_every=8))


def _two_epochs(network: BackendConfig) -> BackendRecipe:
    training = _classification(2, learning_rate=4e-3, validate_every=1, batch_size=8)
    return _recipe(network, training, training)


def _recipe(network: BackendConfig, frozen: TrainingConfig, learning: TrainingConfig) -> BackendRecipe:
    slow = replace(learning, learning_rate_factors={"separator": SLOW})
    return BackendRecipe(
        network=network, training=frozen, finetuning={"frozen": frozen, "finetuned": learning, "slow": slow}
    )


DEMO = Preset(
    description="64 labelled tracks, a quarter of the U-Net's channels, an eighth to a quarter of the CNN's, half the "
    "mel bins, segments of 2.6 s; about 10 minutes on two cores",
    # Few labels: it is then that pre-training has most to give.
    generated=GeneratedConfig(num_train=64, num_validation=64, num_test=200, song_s=5.2),
    recipe=Recipe(
        spectrogram=SpectrogramConfig(hop_samples=DEMO_HOP_SAMPLES),
        mel=MelConfig(num_bins=64),
        # A quarter of the channels, but eight at the finest resolution, where four take as long. In 1,100 steps, slow
        # running statistics would lag behind the weights.
        unet=UNetConfig(channels=(8, 8, 16, 32, 48, 48), final_channels=8, batch_norm_momentum=0.1),
        backends={
            "cnn": _backend(
                ShortChunkCNNConfig(
                    widths=(8, 16, 32, 32, 32, 64, 64),
                    num_frames=DEMO_FRAMES,
                    num_mels=64,
                    last_pool=(2, 1),
                    # In a few hundred steps, dropout and slow running statistics would do more harm than good.
                    dropout=0.0,
                    batch_norm_momentum=0.1,
                ),
                learning_rate=4e-3,
            ),
            "ast": _backend(
                replace(DEMO_TRANSFORMER, width=64, num_heads=4, dropout=0.0),
                learning_rate=1e-3,
            ),
        },
        # Half a segment: the U-Net's view is no wider, and a step costs little more than half.
        separation_frames=DEMO_FRAMES // 2,
        # Whole songs: a source may rest for a second or two, and a score of that would mean little.
        separation_evaluation_frames=DEMO_FRAMES * 2,
        # Targets are boosted a little, and there is a second loss: quiet targets otherwise collapse to silence.
        remix=RemixConfig(
            excerpt_s=5.2,
            excerpt_hop_s=5.2,
            target=Part(presence=0.9, gain_db=(-2.0, 6.0)),
            others=Part(presence=0.95, gain_db=(-3.0, 3.0)),
        ),
        separation_loss=SeparationLossConfig(sqrt_magnitude_weight=1.0),
        separation_training=dict.fromkeys(
            ("vocals", "drums", "bass", "other", "multiple"),
            _separation(1_100, steps_per_epoch=100, learning_rate=4e-3),
        ),
        # Training uses the same segments as evaluation, so that a frozen U-Net runs over each of them once.
        segments=SegmentConfig(grid_samples=DEMO_HOP_SAMPLES * DEMO_FRAMES, test_overlap=0.0),
        probe_frames=DEMO_FRAMES,
        adapters_initial_std=0.01,
    ),
)

TINY = Preset(
    description="everything very small, to see that it runs; about a minute on two cores; its scores mean nothing",
    generated=tiny(),
    recipe=replace(
        DEMO.recipe,
        unet=UNetConfig(channels=(2, 2, 2, 2, 2, 2), final_channels=2),
        separation_evaluation_frames=DEMO_FRAMES,
        backends={
            "cnn": _two_epochs(
                ShortChunkCNNConfig(widths=(2,) * 7, num_frames=DEMO_FRAMES, num_mels=64, last_pool=(2, 1))
            ),
            "ast": _two_epochs(
                replace(DEMO_TRANSFORMER, width=8, num_heads=2),
            ),
        },
        remix=replace(DEMO.recipe.remix, excerpt_s=3.0, excerpt_hop_s=3.0),
        separation_training=dict.fromkeys(DEMO.recipe.separation_training, _separation(4, steps_per_epoch=2)),
        calibration_batches=1,
    ),
)


def _paper_separation(learning_rate: float) -> TrainingConfig:
    """300,000 steps; every 15,000 steps the learning rate is multiplied by 0.9; the last weights are kept."""
    steps_per_epoch = 1_000
    num_epochs = 300_000 // steps_per_epoch
    phase = Phase(
        learning_rate=learning_rate, schedule="step_decay", decay=0.9, decay_every_steps=15_000, num_epochs=num_epochs
    )
    return TrainingConfig(
        phases=(phase,),
        batch_size=8,
        steps_per_epoch=steps_per_epoch,
        max_epochs=num_epochs,
        validate_every=25,
        monitor="loss",
        better="lower",
        keep="last",
    )


def _paper_cnn() -> TrainingConfig:
    """Adam, then SGD at three rates. Each phase ends when the validation loss is no better for over ten epochs."""
    adam = Phase(learning_rate=1e-4, num_epochs=200, patience=10)
    sgd = [Phase(optimiser="sgd", learning_rate=rate, num_epochs=200, patience=10) for rate in (1e-3, 1e-4, 1e-5)]
    return TrainingConfig(phases=(adam, *sgd), batch_size=16, max_epochs=200, monitor="loss", better="lower")


def _paper_ast() -> TrainingConfig:
    """Adam, with its rate halved after epochs 5, 7, 9, 11 and 13, then two epochs of SGD."""
    adam = [Phase(learning_rate=5e-5 / 2**halved, num_epochs=2 if halved else 5) for halved in range(6)]
    sgd = Phase(optimiser="sgd", learning_rate=1e-3, num_epochs=2)
    return TrainingConfig(phases=(*adam, sgd), batch_size=4, max_epochs=17, monitor="loss", better="lower")


PAPER = Preset(
    description="the paper's widths, segments and schedules; for real data and GPUs",
    generated=GeneratedConfig(),
    imagenet=True,
    recipe=Recipe(
        backends={
            "cnn": _recipe(ShortChunkCNNConfig(), _paper_cnn(), _paper_cnn()),
            "ast": _recipe(SpectrogramTransformerConfig(), _paper_ast(), _paper_ast()),
        },
        separation_frames=384,
        separation_training={
            source: _paper_separation(learning_rate)
            for source, learning_rate in (
                *(("vocals", 1e-3), ("bass", 1e-4), ("drums", 2e-4), ("other", 3e-4), ("multiple", 3e-4)),
            )
        },
        probe_frames=384,
    ),
)


def _large(network: BackendConfig, learning_rate: float, *, batch_size: int = 16) -> BackendRecipe:
    training = _classification(30, learning_rate=learning_rate, validate_every=5, batch_size=batch_size)
    return _recipe(network, training, training)


# A seed's separators and arms of experiments/at_size.py are to take about 15 minutes of a GPU.
LARGE = Preset(
    description="full-width networks and the paper's segments on generated music: 2,000 songs, 2,000 labelled tracks "
    "to train on, all of 12 s; for a GPU",
    generated=GeneratedConfig(
        song_s=12.0, num_songs=2_000, num_held_out_songs=50, num_train=2_000, num_validation=300, num_test=600
    ),
    recipe=replace(
        PAPER.recipe,
        backends={
            # As in the demo: a few hundred steps are too few for dropout and slow running statistics.
            "cnn": _large(ShortChunkCNNConfig(dropout=0.0, batch_norm_momentum=0.1), 1e-3),
            "ast": _large(SpectrogramTransformerConfig(dropout=0.0), 1e-4),
        },
        remix=replace(DEMO.recipe.remix, excerpt_s=8.0, excerpt_hop_s=8.0),
        separation_loss=DEMO.recipe.separation_loss,
        separation_training=dict.fromkeys(
            DEMO.recipe.separation_training, _separation(3_000, steps_per_epoch=300, batch_size=8)
        ),
        adapters_initial_std=0.01,
    ),
)

LARGE_TINY = replace(
    TINY,
    description="as many labelled tracks as generated-large, of 3 s, with very small networks, to see that it runs; "
    "its scores mean nothing",
    generated=replace(TINY.generated, num_train=2_000, num_validation=60, num_test=60),
)

PRESETS: Mapping[str, Preset] = MappingProxyType({"demo": DEMO, "tiny": TINY, "paper": PAPER})
# For experiments/labels.py, which trains on shares of the labelled tracks.
LABELS = MappingProxyType({**PRESETS, "demo": replace(DEMO, generated=replace(DEMO.generated, num_train=256))})
AT_SIZE: Mapping[str, Preset] = MappingProxyType({"generated-large": LARGE, "generated-large-tiny": LARGE_TINY})
