import pytest
import torch

from looksharp.objectives.exchange import BackgroundExchange
from looksharp.objectives.guidance import GUIDANCE_LOSSES, Guidance
from looksharp.objectives.guidance_choice import EXCHANGES, guidance_parts


@pytest.mark.parametrize("name", GUIDANCE_LOSSES)
def test_each_loss_by_its_name_and_weight(name):
    (part,) = guidance_parts(name)
    assert isinstance(part, Guidance)
    assert (part.loss, part.weight) == (name, GUIDANCE_LOSSES[name])
    (part,) = guidance_parts(f"{name}:0.25")
    assert part.weight == 0.25


def test_agreement_brings_the_exchange_along():
    (exchange,) = guidance_parts("background_exchange")
    assert exchange.agreement == 0
    for choice in ("agreement", "background_exchange+agreement", "agreement + background_exchange"):
        (part,) = guidance_parts(choice)
        assert isinstance(part, BackgroundExchange)
        assert part.agreement == 1
    (part,) = guidance_parts("agreement:0.1")
    assert part.agreement == 0.1


def test_several():
    exchange, contrast, error = guidance_parts("contrast:3+agreement:2+squared_error", layer="layer3", warmup=5)
    assert (exchange.agreement, contrast.loss, contrast.weight, error.loss) == (2, "contrast", 3, "squared_error")
    assert contrast.choose.names == ("layer3",)
    assert [part.warmup.steps for part in (exchange, contrast, error)] == [5, 5, 5]


def test_none_asks_nothing():
    assert guidance_parts("none") == []


def test_backgrounds_go_to_the_exchange():
    backgrounds = torch.rand(2, 3, 4, 4)
    (part,) = guidance_parts("background_exchange", backgrounds=backgrounds)
    assert part.backgrounds is backgrounds
    with pytest.raises(
        ValueError, match="guidance_backgrounds need background_exchange in guidance_loss; got 'energy'"
    ):
        guidance_parts("energy", backgrounds=backgrounds)


@pytest.mark.parametrize(
    ("choice", "message"),
    [
        (
            "contrst",
            f"guidance_loss must be of {', '.join((*EXCHANGES, *GUIDANCE_LOSSES))}, joined by '\\+'; got 'contrst'",
        ),
        ("", "got ''"),
        ("energy+", "got ''"),
        ("energy+energy:2", "guidance_loss names energy twice; got 'energy\\+energy:2'"),
        ("background_exchange:2", "background_exchange takes no weight"),
        ("energy:much", "guidance_loss energy needs a weight of at least 0 after its colon; got 'much'"),
        ("agreement:-1", "needs a weight of at least 0 after its colon; got '-1'"),
        ("agreement:nan", "got 'nan'"),
        ("agreement:inf", "got 'inf'"),
    ],
)
def test_what_is_no_choice(choice, message):
    with pytest.raises(ValueError, match=message):
        guidance_parts(choice)
