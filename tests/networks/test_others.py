"""The real networks and trainers of timm, transformers and Lightning, with random weights: `make test-networks`."""

import lightning
import pytest
import timm
import torch
import transformers
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from infolib import networks
from infolib.data import Data
from infolib.measures import lenses
from infolib.networks import Network

N, CLASSES = 40, 2
SMALL = {"hidden_size": 16, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 32}
INFORMATION = {"lenses": ["information"], "information": {"n": 20}, "beside": ()}


def draw(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def images():
    y = torch.arange(N) % CLASSES
    return Data(0.5 * y[:, None, None, None] + 0.5 * torch.rand(N, 3, 32, 32, generator=draw()), y)


@pytest.fixture
def sentences():
    """Token numbers with padding: the second class has high ones."""
    y = torch.arange(N) % CLASSES
    tokens = torch.randint(2, 12, (N, 8), generator=draw()) + 10 * y[:, None]
    mask = (torch.arange(8) < torch.randint(4, 9, (N, 1), generator=draw(1))).long()
    return Data({"input_ids": tokens * mask, "attention_mask": mask}, y)


def bert():
    torch.manual_seed(0)
    config = transformers.BertConfig(vocab_size=40, max_position_embeddings=16, num_labels=CLASSES, **SMALL)
    return transformers.BertForSequenceClassification(config)


def gpt2():
    torch.manual_seed(0)
    config = transformers.GPT2Config(vocab_size=40, n_positions=16, n_embd=16, n_layer=3, n_head=2, num_labels=CLASSES,
                                     pad_token_id=0, bos_token_id=1, eos_token_id=1)  # fmt: skip
    return transformers.GPT2ForSequenceClassification(config)


def wrapped(model):
    """Five lines for a network of transformers: what counts of its outputs, its mask, and where its input is."""
    embeddings = "bert.embeddings" if hasattr(model, "bert") else "transformer.wte"
    return Network(model, take={"": "logits", "**": 0}, mask="attention_mask", input_of=embeddings)


def finite(table, layers):
    assert set(table["layer"]) == set(layers)
    assert table[table["quantity"].isin(["I(X;T)", "I(T;Y)"])]["value"].between(0, 10).all()
    assert {"I(X;T)", "I(T;Y)"} <= set(table["quantity"]) <= {"I(X;T)", "I(T;Y)", "I(X;T) aligned", "I(T;Y) aligned"}


@pytest.mark.parametrize(("make", "blocks"), [(bert, "bert.encoder.layer"), (gpt2, "transformer.h")])
def test_text_networks_are_measured_at_their_blocks(sentences, make, blocks):
    net = wrapped(make().eval())
    layers = networks.select(net)
    assert layers == [f"{blocks}.{i}" for i in range(3)]
    finite(lenses.information(net, sentences, n=20), layers)


def test_all_lenses_of_bert_have_numbers_or_reasons(sentences):
    sizes = {name: {"n": 20} for name in ("information", "redundancy", "class_information", "codelength")}
    table = lenses.look(wrapped(bert().eval()), sentences, 2, discarding={"n": 1}, **sizes)
    assert set(table["lens"]) == set(lenses.LENSES)
    assert (table["value"].notna() | (table["why not"] != "")).all()


def test_padding_does_not_count(sentences):
    net, x = wrapped(bert().eval()), sentences.x
    other = x["input_ids"] + 5 * (1 - x["attention_mask"])
    changed = Data(x | {"input_ids": other}, sentences.y)
    layers = ["bert.encoder.layer.1"]
    one, two = (
        lenses.compare({"a": net, "b": net}, data, layers, n=20, **INFORMATION) for data in (sentences, changed)
    )
    assert one.cka["CKA"].tolist() == pytest.approx([1.0])
    assert len(one.table) == len(two.table)


def test_vision_transformers_of_transformers(images):
    torch.manual_seed(0)
    vit = transformers.ViTForImageClassification(
        transformers.ViTConfig(image_size=32, patch_size=8, num_labels=CLASSES, **SMALL)
    ).eval()
    net = Network(vit, take={"": "logits", "**": 0})
    layers = networks.select(net)
    assert len(layers) == 3
    finite(lenses.information(net, images, n=20), layers)
    text = {**SMALL, "vocab_size": 40, "max_position_embeddings": 16}
    vision = {**SMALL, "image_size": 32, "patch_size": 8}
    config = transformers.CLIPConfig(text_config=text, vision_config=vision, projection_dim=8)
    clip = transformers.CLIPModel(config).eval()
    net = Network(clip.vision_model, take={"": "pooler_output", "**": 0})
    layers = networks.select(net)
    assert len(layers) == 3
    finite(lenses.information(net, images, n=20), layers)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("convnext_atto", {}),
        ("vit_tiny_patch16_224", {"img_size": 32, "patch_size": 8}),
        ("mixer_s32_224", {"img_size": 32}),
        ("efficientnet_b0", {}),
        ("resnet18", {}),
    ],
)
def test_networks_of_timm_are_measured_at_their_blocks(images, name, options):
    torch.manual_seed(0)
    net = timm.create_model(name, pretrained=False, num_classes=CLASSES, **options).eval()
    blocks = networks.blocks(net)
    assert len({type(net.get_submodule(block)).__name__ for block in blocks}) <= 2
    assert len(blocks) >= 8
    layers = networks.select(net, 3)
    finite(lenses.information(net, images, layers, n=20), layers)


class Lit(lightning.LightningModule):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.net = nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, 8), nn.ReLU(), nn.Dropout(0.5), nn.Linear(8, 2))

    def forward(self, x):
        return self.net(x)

    def training_step(self, batch, _index):
        x, y = batch
        return nn.functional.cross_entropy(self(x), y)

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


def fitted(images, callbacks, folder):
    lit = Lit()
    lightning.seed_everything(0, verbose=False)
    trainer = lightning.Trainer(
        max_steps=6, accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, default_root_dir=folder, callbacks=callbacks, accumulate_grad_batches=2,
    )  # fmt: skip
    trainer.fit(lit, DataLoader(TensorDataset(images.x, images.y), batch_size=5, shuffle=True))
    return lit.state_dict()


@pytest.mark.filterwarnings("ignore")
def test_lightning_trains_the_same_weights_while_it_is_watched(images, tmp_path):
    watch = lenses.Watch(images, ["net.1", "net.4"], every=2, **INFORMATION)
    watched, alone = fitted(images, [watch.lightning()], tmp_path), fitted(images, [], tmp_path)
    assert all(torch.equal(t, alone[name]) for name, t in watched.items())
    assert watch.table["step"].unique().tolist() == [0, 2, 4, 6]
    assert watch.table["value"].notna().all()


def trained(sentences, callbacks, folder):
    rows = [{**{key: t[i] for key, t in sentences.x.items()}, "labels": sentences.y[i]} for i in range(N)]
    arguments = transformers.TrainingArguments(
        output_dir=str(folder), max_steps=5, per_device_train_batch_size=8, report_to=[], save_strategy="no", seed=0,
        use_cpu=True, disable_tqdm=True, logging_strategy="no",
    )  # fmt: skip
    net = bert()
    transformers.Trainer(net, arguments, train_dataset=rows, callbacks=callbacks).train()
    return net.state_dict()


@pytest.mark.filterwarnings("ignore")
def test_the_trainer_of_hugging_face_trains_the_same_weights_while_it_is_watched(sentences, tmp_path):
    watch = lenses.Watch(sentences, 2, every=2, wrap=wrapped, **INFORMATION)
    watched, alone = trained(sentences, [watch.transformers()], tmp_path), trained(sentences, [], tmp_path)
    assert all(torch.equal(t, alone[name]) for name, t in watched.items())
    assert watch.table["step"].unique().tolist() == [0, 2, 4]
